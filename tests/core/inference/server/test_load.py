"""Many clients at once, slow ones, rude ones: the server, with a model that speaks at a fixed rate."""

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import httpx
import openai
import psutil
import pytest

from app import web_server
from core.inference.server import CompletionServer
from tests.core.inference.server.fake_model import WORD, FakeModel, serving, wait_until

STEP_S = 0.02
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, "stream": True}


def server_of(model: FakeModel, **options: Any) -> CompletionServer:
    return CompletionServer(lambda: cast(Any, model), **options)


def gauges(address: str) -> dict[str, float]:
    text = httpx.get(f"{address}/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def raw_request(address: str, body: dict[str, Any]) -> socket.socket:
    """A socket that has asked, and reads nothing by itself."""
    host, _, port = address.removeprefix("http://").partition(":")
    content = json.dumps(body).encode()
    sock = socket.create_connection((host, int(port)))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    sock.sendall(head.encode() + content)
    return sock


@pytest.fixture
def model() -> FakeModel:
    return FakeModel(step_s=STEP_S)


@pytest.fixture
def address(model: FakeModel) -> Iterator[str]:
    with serving(server_of(model, max_open=64).app) as address:
        yield address


async def answered(client: openai.AsyncOpenAI) -> tuple[str, int]:
    """The whole text and how often the client was told to wait."""
    num_refused = 0
    while True:
        try:
            chunks = await client.chat.completions.create(model="fake", **ASK)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks]), num_refused
        except openai.RateLimitError as exc:
            num_refused += 1
            await asyncio.sleep(float(exc.response.headers["retry-after"]) / 8)


def test_100_clients_are_answered_or_told_to_wait_and_then_answered(address: str) -> None:
    async def herd() -> list[tuple[str, int]]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(answered(client) for _ in range(100)))

    answers = asyncio.run(herd())
    assert {text for text, _ in answers} == {WORD * 20}
    assert any(num_refused for _, num_refused in answers)
    assert gauges(address)["astrai_generations_open"] == 0
    assert gauges(address)["astrai_completion_tokens_total"] == 100 * 20


def test_a_refusal_comes_within_100_ms_even_before_the_body(model: FakeModel, address: str) -> None:
    model.step_s = 0.2
    with ExitStack() as stack, httpx.Client() as client:
        for _ in range(64):
            stack.enter_context(raw_request(address, ASK | {"max_tokens": 500}))
        wait_until(lambda: gauges(address)["astrai_generations_open"] == 64)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            answer = client.post(f"{address}/v1/chat/completions", json=ASK)
            times.append(time.perf_counter() - start)
            assert answer.status_code == 429
        assert min(times) < 0.1


def test_the_engines_own_bound_is_a_429_too(model: FakeModel, address: str) -> None:
    model.room = 1
    with raw_request(address, ASK | {"max_tokens": 500}):
        wait_until(lambda: model.num_steps > 0)
        answer = httpx.post(f"{address}/v1/chat/completions", json=ASK)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("leaves", ["reset", "close", "half-close"])
def test_clients_that_leave_free_their_slots(model: FakeModel, address: str, streams: bool, leaves: str) -> None:
    socks = [raw_request(address, ASK | {"max_tokens": 5000, "stream": streams}) for _ in range(30)]
    wait_until(lambda: model.num_steps > 60)
    for sock in socks:
        if leaves == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        if leaves == "half-close":
            sock.shutdown(socket.SHUT_WR)
        else:
            sock.close()
    wait_until(lambda: not model.streams)
    settled = model.num_steps
    wait_until(lambda: gauges(address)["astrai_generations_open"] == 0)
    assert model.num_steps == settled < 30 * 5000
    for sock in socks:
        sock.close()


def test_memory_does_not_grow_with_clients_that_leave(model: FakeModel, address: str) -> None:
    def round_of_leaving() -> int:
        socks = [raw_request(address, ASK | {"max_tokens": 5000}) for _ in range(60)]
        wait_until(lambda: len(model.streams) == 60)
        for sock in socks:
            sock.close()
        wait_until(lambda: gauges(address)["astrai_generations_open"] == 0)
        return psutil.Process().memory_info().rss

    first, *_, last = [round_of_leaving() for _ in range(4)]
    assert last - first < 10 * 2**20


def test_a_client_that_does_not_read_is_given_up(
    model: FakeModel, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "READ_TIMEOUT_S", 0.3)
    model.step_s = 0
    with raw_request(address, ASK | {"max_tokens": 200_000}):
        wait_until(lambda: bool(model.streams))
        wait_until(lambda: gauges(address)["astrai_generations_open"] == 0, timeout_s=20)
        assert httpx.get(f"{address}/health").status_code == 200


def test_slow_heads_and_bodies_do_not_hurt_others_and_are_ended(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_S", 1.0)
    host, _, port = address.removeprefix("http://").partition(":")
    socks = [socket.create_connection((host, int(port))) for _ in range(200)]
    head = b"POST /v1/chat/completions HTTP/1.1\r\nX-Slow: " + b"a" * 200
    ended = threading.Event()

    def drip() -> None:
        for byte in head:
            if ended.wait(0.1):
                return
            for sock in socks:
                try:
                    sock.send(bytes([byte]))
                except OSError:
                    continue

    thread = threading.Thread(target=drip)
    thread.start()
    times = []
    with httpx.Client() as client:
        for _ in range(40):
            start = time.perf_counter()
            assert client.get(f"{address}/health").status_code == 200
            times.append(time.perf_counter() - start)
            time.sleep(0.05)
    ended.set()
    thread.join()
    assert sorted(times)[-3] < 0.2
    assert all(is_closed(sock) for sock in socks)


def is_closed(sock: socket.socket) -> bool:
    sock.settimeout(1)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
    finally:
        sock.close()


def test_a_connection_is_not_ended_while_its_request_is_answered(
    model: FakeModel, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_server, "HEAD_TIMEOUT_S", 0.2)
    with httpx.Client() as client:
        for _ in range(2):  # the second on the same connection
            answer = client.post(f"{address}/v1/chat/completions", json=ASK | {"max_tokens": 30, "stream": False})
            assert answer.json()["choices"][0]["message"]["content"] == WORD * 30


def test_a_large_body_does_not_hold_up_others(address: str) -> None:
    content = json.dumps({"messages": [{"role": "user", "content": "too long " * 800_000}]}).encode()
    done = threading.Event()
    statuses: list[int] = []

    def post() -> None:
        statuses.append(httpx.post(f"{address}/v1/chat/completions", content=content, timeout=20).status_code)
        done.set()

    threading.Thread(target=post).start()
    times = []
    with httpx.Client() as client:
        while not done.is_set():
            start = time.perf_counter()
            client.get(f"{address}/health")
            times.append(time.perf_counter() - start)
    assert statuses == [400]
    assert max(times) < 0.5
