"""A script that runs before Gradio's own, in the page itself: what `head` gives comes too late for that.

Gradio's status lines count time at every frame, and one that is taken off the page meanwhile counts for ever: 5 % of a
core while nothing happens. It keeps the browser's `requestAnimationFrame` when it is loaded, so ours must be there
first.
"""

from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = Path(__file__).parent / "static" / "idle.js"
PLACE = b"<head>"


class EarlyScript:
    """Puts the script at the beginning of the page; every other answer passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._added = PLACE + b"<script>" + SCRIPT.read_bytes() + b"</script>"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        page = _Page(self._added)
        await self.app({**scope, "headers": plain}, receive, page.take)
        await page.send(send)


class _Page:
    """An answer that is held until it is whole."""

    def __init__(self, added: bytes) -> None:
        self._added, self._body = added, b""
        self._start: Message | None = None

    async def take(self, message: Message) -> None:
        """Keep a part of the answer."""
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    async def send(self, send: Send) -> None:
        """Send the answer with the script in it."""
        if self._start is None:
            return
        body = self._body.replace(PLACE, self._added, 1)
        MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(body))
        await send(self._start)
        await send({"type": "http.response.body", "body": body})
