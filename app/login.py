"""The pages at the door, and how often a password may be tried there."""

import asyncio
import html
import time
from collections import deque
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope

from app.guard_headers import LOGIN_POLICY, PAGE_STYLE
from app.i18n import preferred_language, t
from app.password import PasswordHash

WINDOW_S = 60.0
MAX_FROM_ONE, MAX_IN_ALL = 5, 60  # tries within WINDOW_S, by one address and by all of them


class Attempts:
    """The failed tries of the last minute."""

    def __init__(self) -> None:
        self._failed: deque[tuple[float, str]] = deque()

    def has_room(self, address: str) -> bool:
        """Whether this address may try once more."""
        now = time.monotonic()
        while self._failed and self._failed[0][0] < now - WINDOW_S:
            self._failed.popleft()
        return len(self._failed) < MAX_IN_ALL and sum(who == address for _, who in self._failed) < MAX_FROM_ONE

    def begin(self, address: str) -> tuple[float, str]:
        """Count a try; many at once must not slip through while the first is being judged."""
        attempt = (time.monotonic(), address)
        self._failed.append(attempt)
        return attempt

    def forgive(self, attempt: tuple[float, str]) -> None:
        """It was the right password."""
        if attempt in self._failed:
            self._failed.remove(attempt)


class PasswordDoor:
    """Judges passwords, one after the other."""

    def __init__(self, password: PasswordHash) -> None:
        self._password, self._attempts, self._judging = password, Attempts(), asyncio.Lock()

    async def answer(self, scope: Scope, receive: Receive, success: Response) -> Response:
        """`success` for the right password, a page that says no for a wrong one."""
        headers = Headers(scope=scope)
        address = str((scope.get("client") or ("",))[0])
        if not self._attempts.has_room(address):
            refusal = door_page("too_many_tries", headers, status=429, has_form=True)
            refusal.headers["retry-after"] = f"{WINDOW_S:.0f}"
            return refusal
        attempt = self._attempts.begin(address)
        body = await Request(scope, receive).body()
        given = parse_qs(body.decode("utf-8", "replace"), max_num_fields=4).get("password", [""])[0]
        async with self._judging:
            is_right = await asyncio.to_thread(self._password.fits, given)
        if not is_right:
            return door_page("wrong_password", headers, status=401, has_form=True)
        self._attempts.forgive(attempt)
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
