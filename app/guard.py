"""The locks on the doors: pure ASGI, outside every route, Gradio's own among them.

A web page on the internet can make the browser send requests to this machine, under a name of its own
(DNS rebinding) or as a form (CSRF). So: the Host must be exactly ours, a foreign Origin is refused,
and every request needs the cookie that the one-time login link gives. The link answers with a page
that moves on by itself: after a redirect from another site a SameSite=Strict cookie would not be sent.
Programs that ask the API show a key instead of the cookie.
"""

import hmac
import re
import secrets
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.i18n import preferred_language, t
from core.files import write_atomic
from core.inference.openai_error import RequestError

# Gradio's page has inline scripts and builds functions from strings, so this policy cannot forbid
# script; its job is egress: nothing is loaded from or sent to anywhere but this server.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; "
    "worker-src 'self' blob:; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-accel-buffering": "no",
}
# What the page asks for. Gradio has many more routes: some read files, some make the server fetch an address.
ALLOWED = re.compile(
    r"/(health|login|config|theme\.css|favicon\.ico|manifest\.json)?"
    r"|/library/(passage/\d+/\d+/\d+|page/\d+/\d+/\d+/\d+\.png|files/[a-z0-9]+)"
    r"|/studio/(runs(/[a-z0-9_-]+(/(metrics|answers))?)?|files/[a-z0-9]+|preferences(\.jsonl)?)"
    r"|/(assets|static|svelte)/(?!.*\.\.)[\w./@-]+"
    r"|/gradio_api/(queue/(join|data)|run/predict|cancel|reset|startup-events|app_id|heartbeat/\w+)"
)
# The page's own colours, so that nothing flashes on the way to it.
PAGE_STYLE = (
    ":root{color-scheme:light dark}body{font:18px/1.6 system-ui,sans-serif;max-width:34rem;margin:30vh auto;"
    "padding:0 1.5rem;text-align:center;background:#fcfcfd;color:#27272a}"
    "@media(prefers-color-scheme:dark){body{background:#131316;color:#f4f4f5}}"
)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
OPEN_PATHS = ("/health",)


class OwnAddress:
    """The names of this server, and what it refuses whoever asks: other names and other sites."""

    def __init__(self, port: int) -> None:
        self.origins = frozenset(f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))
        self._hosts = frozenset(origin.removeprefix("http://") for origin in self.origins)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that must not pass, or None."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This address is not served here."
        if not self._is_own_page(headers, scope.get("method", "GET"), is_websocket=scope["type"] == "websocket"):
            return 403, "Requests from other sites are refused."
        return None

    def _is_own_page(self, headers: Headers, method: str, *, is_websocket: bool) -> bool:
        origins = headers.getlist("origin")
        if any(origin.lower() not in self.origins for origin in origins):
            return False
        if method in SAFE_METHODS and not is_websocket and headers.get("sec-fetch-mode") == "navigate":
            return True  # a link to us in another page
        return all(site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site"))


class KeyGuard:
    """Lets only programs of this machine that show the key, as `Authorization: Bearer`, through to `app`.

    Whether the server is there, anyone on this machine may ask.
    """

    def __init__(self, app: ASGIApp, *, port: int, key: str) -> None:
        assert key
        self.app, self._address, self._key = app, OwnAddress(port), key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        if refused := self._address.refusal(scope):
            return _api_error(*refused, "foreign_request")
        if scope["path"] not in OPEN_PATHS and not self._has_key(Headers(scope=scope)):
            return _api_error(
                401, "The API key is missing or wrong; `serve` prints it at its start.", "invalid_api_key"
            )
        return None

    def _has_key(self, headers: Headers) -> bool:
        given = [value.partition(" ") for value in headers.getlist("authorization")]
        return len(given) == 1 and given[0][0].lower() == "bearer" and _is_equal(given[0][2].strip(), self._key)


class Guard:
    """Lets only this machine's own browser, with its cookie, through to `app`."""

    def __init__(self, app: ASGIApp, *, port: int, secret: str) -> None:
        self.app = app
        self._address = OwnAddress(port)
        self._cookie = f"astrai_{port}"
        self._secret = secret
        self._login_token: str | None = secrets.token_urlsafe(32)
        self.login_path = f"/login?token={self._login_token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that must not pass, or None."""
        if refused := self._address.refusal(scope):
            status, sentence = refused
            return PlainTextResponse(sentence, status)
        headers, path = Headers(scope=scope), scope["path"]
        if not ALLOWED.fullmatch(path):
            return PlainTextResponse("This route is closed.", 403)
        if path == "/login" and scope["type"] == "http":
            return self._login(scope, headers)
        if path in OPEN_PATHS or self._has_cookie(headers):
            return None
        return _page("locked", headers, status=401)

    def _login(self, scope: Scope, headers: Headers) -> Response:
        """Trade the one-time token for the cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._login_token is None or not _is_equal(given, self._login_token):
            if self._has_cookie(headers):
                return _page("opening", headers, moves_to="/")
            return _page("locked", headers, status=401)
        self._login_token = None
        page = _page("opening", headers, moves_to="/")
        page.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict", path="/", max_age=30 * 86400)
        return page

    def _has_cookie(self, headers: Headers) -> bool:
        """Every program on this machine's address shares the header, so what others wrote is passed over."""
        pairs = (pair.partition("=") for value in headers.getlist("cookie") for pair in value.split(";"))
        return any(name.strip() == self._cookie and _is_equal(value.strip(), self._secret) for name, _, value in pairs)


def session_secret(path: Path) -> str:
    """A secret of this installation (cookie, API key), made on first use and readable by its owner alone."""
    if not path.exists() or path.stat().st_size == 0:
        write_atomic(path, _write_secret, is_private=True)
    return path.read_text(encoding="utf-8").strip()


def _write_secret(path: Path) -> None:
    path.write_text(secrets.token_urlsafe(32), encoding="utf-8")


def _is_equal(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _api_error(status: int, message: str, code: str) -> Response:
    refusal = RequestError(message, status=status, code=code)
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(refusal.body, status, headers)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers


def _page(key: str, headers: Headers, *, status: int = 200, moves_to: str | None = None) -> Response:
    """A page with one text, in the language that the browser asks for."""
    text = t(key, preferred_language(headers.get("accept-language", "")))
    move = f'<meta http-equiv="refresh" content="0;url={moves_to}">' if moves_to else ""
    return HTMLResponse(
        f'<!doctype html><meta charset="utf-8"><title>AstrAI</title>{move}<style>{PAGE_STYLE}</style><p>{text}</p>',
        status,
    )
