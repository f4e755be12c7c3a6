"""The locks on the doors: pure ASGI, outside every route, Gradio's own among them.

A request passes when it names this server exactly, comes from no other site, asks for a route of `allowed_routes` as
that is written there, and shows the cookie that the one-time login link gives, or the password where there is one. The
link answers with a page that moves on by itself: after a redirect from another site a SameSite=Strict cookie would not
be sent. Programs that ask the API show a key instead of the cookie.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.allowed_routes import JSON_BODY, LOGIN_PATH, Body, ways_of
from app.bounded_body import BoundedBody, too_large
from app.guard_headers import STRICT_POLICY, with_headers
from app.login import PasswordDoor, door_page
from app.login_links import LoginLinks
from app.own_address import SAFE_METHODS, OwnAddress
from app.password import PasswordHash
from app.wrong_tries import WINDOW_S, WrongTries, address_of
from core.files import write_bytes
from core.inference.openai_error import INVALID_REQUEST, RATE_LIMIT, RequestError

OPEN_PATHS = ("/health",)
COOKIE_S = 30 * 86400
MAX_WRONG_KEYS = 20  # different ones a minute from one address


class KeyGuard:
    """Lets only programs that show the key, as `Authorization: Bearer`, through to `app`.

    Whether the server is there, anyone who reaches it may ask. A program with one outdated key keeps nobody else out,
    however often it asks; one that tries many is not heard for a while.
    """

    def __init__(self, app: ASGIApp, *, port: int, key: str, names: Iterable[str] = ()) -> None:
        assert key
        self.app, self._address, self._key = app, OwnAddress(port, names), key
        self._wrong = WrongTries(from_one=MAX_WRONG_KEYS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self.app)(scope, receive, with_headers(send, STRICT_POLICY))

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if refused := self._address.refusal(scope, is_page=False):
            return _api_error(*refused, "foreign_request")
        if scope["path"] not in OPEN_PATHS and (no_key := self._key_refusal(headers, address_of(scope))):
            return no_key
        if scope["method"] not in SAFE_METHODS and not _is_of_type(headers, JSON_BODY):
            return _api_error(415, f"Send the body as {JSON_BODY.media_type}.", "unsupported_media_type")
        return None

    def _key_refusal(self, headers: Headers, address: str) -> Response | None:
        if not self._wrong.has_room(address):
            return _api_error(429, f"Too many wrong API keys. Try again in {WINDOW_S:.0f} s.", "too_many_wrong_keys")
        given = [value.partition(" ") for value in headers.getlist("authorization")]
        if len(given) == 1 and given[0][0].lower() == "bearer" and _is_equal(given[0][2].strip(), self._key):
            return None
        if given:
            self._wrong.add(address, hash(tuple(given)))
        return _api_error(401, "The API key is missing or wrong; `serve` prints it at its start.", "invalid_api_key")


class Guard:
    """Lets only browsers with the cookie through to `app`: this machine's own, or those that know the password."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        port: int,
        secret: str,
        names: Iterable[str] = (),
        password: PasswordHash | None = None,
    ) -> None:
        self.app = app
        self._address = OwnAddress(port, names)
        # Browsers send every port of a host the same cookies; two installations may take turns at one port.
        self.cookie_name = f"astrai_{port}_{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
        # A new password ends what was logged in with the old one.
        self.cookie_value = secret if password is None else _keyed(secret, password.hash)
        self._password_door = None if password is None else PasswordDoor(password)
        self._links = LoginLinks(secret, port)  # of second starts
        self._login_token: str | None = secrets.token_urlsafe(32)
        self.login_path = f"{LOGIN_PATH}?token={self._login_token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the page has none
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, with_headers(send, STRICT_POLICY))
            return
        (way,) = (way for way in ways_of(scope["path"]) if scope["method"] in way.methods)
        answering = with_headers(send, way.policy)
        app: ASGIApp = self._log_in if scope["path"] == LOGIN_PATH else self.app
        if way.body is None:
            await app(scope, receive, answering)
            return
        bounded = BoundedBody(way.body, receive, answering)
        with suppress(ClientDisconnect):
            await app(scope, bounded.receive, bounded.send)
        if bounded.refusal is not None and not bounded.has_answered:
            await _refuse_body(*bounded.refusal)(scope, receive, answering)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that must not pass, or None."""
        if refused := self._address.refusal(scope, is_page=True):
            status, sentence = refused
            return PlainTextResponse(sentence, status)
        headers, path, method = Headers(scope=scope), scope["path"], scope["method"]
        ways = ways_of(path)
        if not ways:
            return PlainTextResponse("This route is closed.", 403)
        bodies = [way.body for way in ways if method in way.methods]
        if not bodies:
            return PlainTextResponse("This route is not asked so.", 405)
        if path not in (LOGIN_PATH, *OPEN_PATHS) and not self._has_cookie(headers):
            return self._closed_door(headers)
        return _body_refusal(headers, bodies[0])

    async def _log_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Trade the one-time token, or the password, for the cookie."""
        headers = Headers(scope=scope)
        opened = door_page("opening", headers, moves_to="/")
        opened.set_cookie(
            self.cookie_name, self.cookie_value, httponly=True, samesite="strict", path="/", max_age=COOKIE_S
        )
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] == "POST" and self._password_door is not None:
            answer = await self._password_door.answer(scope, receive, opened)
        elif scope["method"] == "GET" and self._takes(given):
            answer = opened
        elif self._has_cookie(headers):
            answer = door_page("opening", headers, moves_to="/")
        else:
            answer = self._closed_door(headers)
        await answer(scope, receive, send)

    def _takes(self, token: str) -> bool:
        """Whether this is the link that was printed, or one that a second start has made. Each is good once."""
        if self._login_token is not None and _is_equal(token, self._login_token):
            self._login_token = None
            return True
        return self._links.take(token)

    def _closed_door(self, headers: Headers) -> Response:
        has_form = self._password_door is not None
        return door_page("give_password" if has_form else "locked", headers, status=401, has_form=has_form)

    def _has_cookie(self, headers: Headers) -> bool:
        """Every program on this machine's address shares the header, so what others wrote is passed over."""
        pairs = (pair.partition("=") for value in headers.getlist("cookie") for pair in value.split(";"))
        return any(
            name.strip() == self.cookie_name and _is_equal(value.strip(), self.cookie_value) for name, _, value in pairs
        )


def session_secret(path: Path) -> str:
    """A secret of this installation (cookie, API key), made on first use and readable by its owner alone."""
    if not path.exists() or path.stat().st_size == 0:
        write_bytes(path, secrets.token_urlsafe(32).encode(), is_private=True)
    return path.read_text(encoding="utf-8").strip()


def _body_refusal(headers: Headers, body: Body | None) -> Response | None:
    """What the headers alone tell of a body that must not come."""
    declared = headers.get("content-length", "0")
    has_body = declared != "0" or "transfer-encoding" in headers
    if body is None:
        return _refuse_body(413, "This route takes no body.") if has_body else None
    if has_body and not _is_of_type(headers, body):
        return _refuse_body(415, f"Send the body as {body.media_type}.")
    if not declared.isdecimal() or int(declared) > body.max_bytes:
        return _refuse_body(413, too_large(body.max_bytes))
    return None


def _is_of_type(headers: Headers, body: Body) -> bool:
    types = headers.getlist("content-type")
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == body.media_type


def _refuse_body(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status)


def _keyed(secret: str, value: str) -> str:
    return hmac.new(secret.encode(), value.encode(), hashlib.sha256).hexdigest()


def _is_equal(given: str, secret: str) -> bool:
    """Compare in a time that does not tell how much was right."""
    return hmac.compare_digest(given.encode(), secret.encode())


def _api_error(status: int, message: str, code: str) -> Response:
    refusal = RequestError(message, status=status, code=code, kind=RATE_LIMIT if status == 429 else INVALID_REQUEST)
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": f"{WINDOW_S:.0f}"}}
    return JSONResponse(refusal.body, status, headers.get(status))
