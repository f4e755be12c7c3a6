"""Guessing keys is slow, and costs nobody else anything; what is remembered of it is bounded."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app import guard, wrong_tries
from app.guard import KeyGuard
from app.web_server import web_config
from app.wrong_tries import WrongTries, address_of

KEY = "a key of at least sixteen"
ONE, OTHER = ("192.168.1.9", 40000), ("192.168.1.10", 40000)


async def inside(_: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


@pytest.fixture
def door() -> KeyGuard:
    return KeyGuard(Starlette(routes=[Route("/v1/models", inside), Route("/health", inside)]), port=7860, key=KEY)


def ask(door: KeyGuard, key: str | None, *, client: tuple[str, int] = ONE, path: str = "/v1/models") -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(door, client=client)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7860") as program:
            return await program.get(path, headers=headers)

    return asyncio.run(send())


def test_many_wrong_keys_of_one_address_are_not_heard_for_a_minute_and_the_others_are(
    door: KeyGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = [ask(door, f"guess {number}").status_code for number in range(guard.MAX_WRONG_KEYS + 5)]
    assert statuses == [401] * guard.MAX_WRONG_KEYS + [429] * 5
    refused = ask(door, KEY)  # else a guesser would learn as fast as it can ask
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "too_many_wrong_keys")
    assert ask(door, KEY, client=OTHER).text == "inside"
    assert ask(door, None, path="/health").text == "inside"
    monkeypatch.setattr(wrong_tries, "WINDOW_S", 0.0)
    assert ask(door, KEY).text == "inside"


@pytest.mark.parametrize("key", ["an outdated key", None, ""])
def test_a_program_that_asks_on_and_on_with_one_key_or_none_keeps_nobody_out(door: KeyGuard, key: str | None) -> None:
    assert {ask(door, key).status_code for _ in range(3 * guard.MAX_WRONG_KEYS)} == {401}
    assert ask(door, KEY).text == "inside"


def test_right_keys_are_never_counted(door: KeyGuard) -> None:
    assert {ask(door, KEY).status_code for _ in range(3 * guard.MAX_WRONG_KEYS)} == {200}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_tries, "MAX_KEPT", 50)
    tries = WrongTries(from_one=3)
    for number in range(1000):
        tries.add(f"10.0.{number // 250}.{number % 250}", number)
    assert len(tries._tries) == len(tries._counts) == 50
    assert all(tries.has_room(f"10.0.3.{number}") for number in range(250))


def test_the_addresses_of_one_ipv6_network_are_one_and_mapped_ones_are_their_ipv4() -> None:
    def of(*client: Any) -> str:
        return address_of({"type": "http", "client": client or None})

    assert of("2001:db8::1", 1) == of("2001:db8::ffff:1", 2) != of("2001:db8:0:1::1", 1)
    assert of("::ffff:192.168.1.9", 1) == of("192.168.1.9", 7) == "192.168.1.9"
    assert (of(), of("testclient", 1)) == ("", "testclient")


@pytest.mark.parametrize(("has_proxy", "heard_as"), [(False, "127.0.0.1"), (True, "203.0.113.7")])
def test_who_asks_is_taken_from_a_header_only_where_there_is_a_proxy(has_proxy: bool, heard_as: str) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(address_of(scope))

    config = web_config(app, has_proxy=has_proxy, log_config=None)
    config.load()
    scope = {"type": "http", "client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", b"203.0.113.7")]}
    asyncio.run(config.loaded_app(scope, None, None))
    assert heard == [heard_as]
