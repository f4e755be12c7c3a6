"""A page that other machines reach: a password opens it, few tries a minute, and only by the names that were given."""

import asyncio
import re
from urllib.parse import urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app import login, password, wrong_tries
from app.guard import Guard
from app.password import PasswordHash

WORDS, SECRET = "correct horse battery", "s3cret"
BASE = "http://box.local:7860"
OTHER = ("192.168.1.9", 40000)


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    monkeypatch.setattr(password, "COST", 2**4)

    async def inside(_: Request) -> PlainTextResponse:
        return PlainTextResponse("inside")

    app = Starlette(routes=[Route("/", inside)])
    names = ["box.local", "192.168.1.5", "https://chat.example"]
    return Guard(app, port=7860, secret=SECRET, names=names, password=PasswordHash.of(WORDS))


def ask(
    guard: Guard, path: str = "/", *, words: str | None = None, client: tuple[str, int] = OTHER, **headers: str
) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(guard, client=client)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as browser:
            if words is None:
                return await browser.get(path, headers=headers)
            own = {"content-type": "application/x-www-form-urlencoded", "origin": BASE} | headers
            return await browser.post(path, headers=own, content=urlencode({"password": words}))

    return asyncio.run(send())


def test_the_password_opens_the_page(guard: Guard) -> None:
    closed = ask(guard)
    assert closed.status_code == 401
    assert 'action="/login"' in closed.text
    opened = ask(guard, "/login", words=WORDS)
    assert opened.status_code == 200
    assert SECRET not in opened.headers["set-cookie"]
    name, value = re.match(r"([^=]+)=([^;]+)", opened.headers["set-cookie"]).groups()  # type: ignore[union-attr]
    assert ask(guard, cookie=f"{name}={value}").text == "inside"
    assert ask(guard, cookie=f"{name}={SECRET}").status_code == 401


def test_a_new_password_ends_what_the_old_one_opened(guard: Guard) -> None:
    other = Guard(guard.app, port=7860, secret=SECRET, password=PasswordHash.of("another sentence"))
    assert other.cookie_name == guard.cookie_name
    assert other.cookie_value != guard.cookie_value


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "192.168.1.5:7860"}, 401),
        ({"host": "chat.example"}, 401),
        ({"host": "127.0.0.1:7860"}, 401),
        ({"host": "evil.example:7860"}, 421),
        ({"host": "192.168.1.6:7860"}, 421),
        ({"host": "chat.example:7860"}, 421),
        ({"origin": "http://chat.example"}, 403),
        ({"origin": "https://chat.example"}, 401),
    ],
)
def test_only_the_given_names_are_served(guard: Guard, headers: dict[str, str], status: int) -> None:
    assert ask(guard, **headers).status_code == status


@pytest.mark.parametrize("headers", [{"origin": "http://evil.example"}, {"origin": "null"}])
def test_a_form_of_another_site_logs_nobody_in(guard: Guard, headers: dict[str, str]) -> None:
    answer = ask(guard, "/login", words=WORDS, **headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_wrong_passwords_are_few_a_minute_and_the_right_one_waits_too(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(login.MAX_FROM_ONE):
        assert ask(guard, "/login", words=f"guess number {number}").status_code == 401
    refused = ask(guard, "/login", words=WORDS)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert "set-cookie" not in refused.headers
    assert ask(guard, "/login", words=WORDS, client=("192.168.1.10", 40000)).status_code == 200
    monkeypatch.setattr(wrong_tries, "WINDOW_S", 0.0)
    assert ask(guard, "/login", words=WORDS).status_code == 200


def test_many_tries_at_once_are_no_more_than_one_after_the_other(guard: Guard) -> None:
    async def herd() -> list[int]:
        transport = httpx.ASGITransport(guard, client=OTHER)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as browser:
            own = {"content-type": "application/x-www-form-urlencoded", "origin": BASE}
            tries = (browser.post("/login", headers=own, content=f"password=guess{i}") for i in range(50))
            return [answer.status_code for answer in await asyncio.gather(*tries)]

    statuses = asyncio.run(herd())
    assert statuses.count(401) == login.MAX_FROM_ONE
    assert statuses.count(429) == 50 - login.MAX_FROM_ONE


def test_many_addresses_together_have_a_bound(guard: Guard) -> None:
    statuses = [
        ask(guard, "/login", words="guess again", client=(f"10.0.0.{i}", 1)).status_code
        for i in range(login.MAX_IN_ALL + 3)
    ]
    assert statuses == [401] * login.MAX_IN_ALL + [429] * 3


def test_without_a_password_there_is_no_form_and_no_way_in_by_one() -> None:
    guard = Guard(Starlette(), port=7860, secret=SECRET, names=["box.local"])
    assert "<form" not in ask(guard).text
    assert ask(guard, "/login", words="").status_code == 401
