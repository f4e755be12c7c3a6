"""The pages at the door, and the one who judges passwords there."""

import asyncio
import html
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope

from app.guard_headers import LOGIN_POLICY, PAGE_STYLE
from app.i18n import preferred_language, t
from app.password import PasswordHash
from app.wrong_tries import WINDOW_S, WrongTries, address_of

MAX_FROM_ONE, MAX_IN_ALL = 5, 60  # wrong passwords a minute; judging each takes a tenth of a second


class PasswordDoor:
    """Judges passwords, one after the other."""

    def __init__(self, password: PasswordHash) -> None:
        self._password, self._judging = password, asyncio.Lock()
        self._wrong = WrongTries(from_one=MAX_FROM_ONE, in_all=MAX_IN_ALL)

    async def answer(self, scope: Scope, receive: Receive, success: Response) -> Response:
        """`success` for the right password, a page that says no for a wrong one."""
        headers = Headers(scope=scope)
        address, attempt = address_of(scope), object()
        if not self._wrong.has_room(address):
            refusal = door_page("too_many_tries", headers, status=429, has_form=True)
            refusal.headers["retry-after"] = f"{WINDOW_S:.0f}"
            return refusal
        self._wrong.add(address, attempt)
        body = await Request(scope, receive).body()
        given = parse_qs(body.decode("utf-8", "replace"), max_num_fields=4).get("password", [""])[0]
        async with self._judging:
            is_right = await asyncio.to_thread(self._password.fits, given)
        if not is_right:
            return door_page("wrong_password", headers, status=401, has_form=True)
        self._wrong.forgive(address, attempt)
        return success


def door_page(
    key: str, headers: Headers, *, status: int = 200, moves_to: str | None = None, has_form: bool = False
) -> Response:
    """A page with one text, in the language that the browser asks for, and by wish a field for the password."""
    language = preferred_language(headers.get("accept-language", ""))
    move = f'<meta http-equiv="refresh" content="0;url={moves_to}">' if moves_to else ""
    form = (
        f'<form method="post" action="/login"><label for="password">{html.escape(t("password", language))}</label>'
        '<input id="password" name="password" type="password" autocomplete="current-password" autofocus required> '
        f"<button>{html.escape(t('log_in', language))}</button></form>"
    )
    return HTMLResponse(
        f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>AstrAI</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{move}<style>{PAGE_STYLE}</style>'
        f"<p>{html.escape(t(key, language))}</p>{form if has_form else ''}",
        status,
        {"content-security-policy": LOGIN_POLICY, "cache-control": "no-store"},
    )
