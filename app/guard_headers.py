"""The headers of every answer, and the two policies: what a page may load, run and send.

Gradio's page has inline scripts, sets a base, and its plots and templates build functions from strings, so its policy
cannot forbid those; its job is egress: nothing is loaded from or sent to anywhere but this server. All else is ours
(pieces of HTML, JSON, pictures, the login), needs nothing, and gets nothing, should a browser show it as a page.
"""

import base64
import hashlib

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send

# The page's own colours, so that nothing flashes on the way to it.
PAGE_STYLE = (
    ":root{color-scheme:light dark}body{font:18px/1.6 system-ui,sans-serif;max-width:34rem;margin:30vh auto;"
    "padding:0 1.5rem;text-align:center;background:#fcfcfd;color:#27272a}"
    "input,button{font:inherit;padding:.5rem .9rem;border-radius:.6rem;border:1px solid #8f8f9b}"
    "button{background:#4f46e5;border-color:#4f46e5;color:#fff;cursor:pointer}label{display:block;margin:1rem 0 .4rem}"
    "@media(prefers-color-scheme:dark){body{background:#131316;color:#f4f4f5}input{background:#1b1b20;color:inherit}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()

PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
STRICT_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
LOGIN_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    "x-accel-buffering": "no",
}


def with_headers(send: Send, policy: str) -> Send:
    """Adds the headers to the answer. One that has a policy of its own keeps it."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("content-security-policy", policy)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers
