"""Two hundred streams at once, with a model that speaks at a fixed rate: none is mixed, none lost, leavers free all."""

import asyncio
import json
import multiprocessing
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any, cast

import httpx
import pytest

from core.inference.sampling import Choice
from core.inference.server import CompletionServer
from core.inference.token_stream import Piece
from tests.core.inference.server.fake_model import FakeModel, FakeStream, serving, wait_until
from tests.core.inference.server.test_load import raw_request
from tests.figures import Figure

NUM_STREAMS, NUM_WORDS, STEP_S = 200, 30, 0.05
NUM_AT_ONCE, OVERLOAD = 10, 10  # connections of those who are refused, and how often the bound they ask

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(300)]


class EchoModel(FakeModel):
    """Says over and over what it was asked, in two halves of a character too, so that a mixed answer shows."""

    def _start(self, asked: dict[str, Any], options: Any) -> FakeStream:
        word = asked["messages"][-1]["content"] + "你 "
        stream = FakeStream(self, [Piece(word, (Choice(ord("w"), -0.5),))] * options["max_new_tokens"])
        with self._lock:
            self.streams.append(stream)
        return stream


@pytest.fixture
def model() -> EchoModel:
    return EchoModel(step_s=STEP_S)


@pytest.fixture
def address(model: EchoModel) -> Iterator[str]:
    with serving(CompletionServer(lambda: cast(Any, model), max_open=NUM_STREAMS).app) as address:
        yield address


async def listen(client: httpx.AsyncClient, number: int) -> str:
    """What a stream said."""
    body = {"messages": [{"role": "user", "content": f"#{number}"}], "max_tokens": NUM_WORDS, "stream": True}
    said: list[str] = []
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):  # the last event is no JSON
                said += [json.loads(line[6:])["choices"][0]["delta"].get("content") or ""]
    return "".join(said)


def herd(address: str) -> list[str]:
    async def run() -> list[str]:
        limits = httpx.Limits(max_connections=NUM_STREAMS)
        async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(listen(client, i) for i in range(NUM_STREAMS)))

    return asyncio.run(run())


def ask_health(address: str, is_over: threading.Event) -> list[float]:
    """The times of /health until the streams are over, in milliseconds."""
    times = []
    with httpx.Client(base_url=address) as client:
        while not is_over.wait(0.02):
            begin = time.perf_counter()
            assert client.get("/health").status_code == 200
            times.append(1000 * (time.perf_counter() - begin))
    return times


def be_refused(address: str) -> list[float]:
    """The times of OVERLOAD times as many requests as there is room for, all of them refused, in milliseconds."""

    def ask(_: int) -> list[float]:
        times, body = [], {"messages": [{"role": "user", "content": "hi"}]}
        with closing(HTTPConnection(address.removeprefix("http://"), timeout=60)) as connection:
            for _ in range(OVERLOAD * NUM_STREAMS // NUM_AT_ONCE):
                begin = time.perf_counter()
                connection.request("POST", "/v1/chat/completions", json.dumps(body))
                answer = connection.getresponse()
                assert (answer.status, answer.getheader("retry-after")) == (429, "2")
                answer.read()
                times.append(1000 * (time.perf_counter() - begin))
        return times

    with ThreadPoolExecutor(NUM_AT_ONCE) as askers:
        return [one for times in askers.map(ask, range(NUM_AT_ONCE)) for one in times]


def test_two_hundred_streams_are_whole_and_none_is_mixed(model: EchoModel, address: str, figure: Figure) -> None:
    is_over, times = threading.Event(), list[float]()
    asking = threading.Thread(target=lambda: times.extend(ask_health(address, is_over)))
    asking.start()
    with multiprocessing.get_context("spawn").Pool(1) as clients:  # which must not take the server's time
        answers = clients.apply(herd, (address,))
    is_over.set()
    asking.join()
    wrong = [number for number, said in enumerate(answers) if said != f"#{number}你 " * NUM_WORDS]
    figure("G7 streams", NUM_STREAMS)
    figure("G7 wrong", len(wrong))
    figure("G8 health", sorted(times)[int(0.99 * len(times))])
    assert wrong == []
    wait_until(lambda: not model.streams)


def test_half_that_leave_free_everything_and_the_others_go_on(model: EchoModel, address: str, figure: Figure) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 50_000, "stream": True}
    socks = [raw_request(address, body) for _ in range(NUM_STREAMS)]
    wait_until(lambda: len(model.streams) == NUM_STREAMS and min(one.num_given for one in model.streams) > 1, 60)
    begin = time.perf_counter()
    for sock in socks[::2]:
        sock.close()
    wait_until(lambda: len(model.streams) == NUM_STREAMS // 2)
    figure("G7 freed", 1000 * (time.perf_counter() - begin))
    before = min(one.num_given for one in model.streams)
    wait_until(lambda: min(one.num_given for one in model.streams) > before)
    for sock in socks[1::2]:
        sock.close()
    wait_until(lambda: not model.streams)
    opened = [line for line in httpx.get(f"{address}/metrics").text.splitlines() if line.startswith("astrai_gen")]
    assert {line.rpartition(" ")[2] for line in opened} == {"0"}


def test_ten_times_what_there_is_room_for_is_refused_at_once_and_what_was_accepted_ends(
    model: EchoModel, address: str, figure: Figure
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20 * NUM_WORDS, "stream": True}
    with ExitStack() as accepted:
        socks = [accepted.enter_context(raw_request(address, body)) for _ in range(NUM_STREAMS)]
        wait_until(lambda: len(model.streams) == NUM_STREAMS and min(one.num_given for one in model.streams) > 1, 60)
        with multiprocessing.get_context("spawn").Pool(1) as clients:
            times = clients.apply(be_refused, (address,))
        assert len(model.streams) == NUM_STREAMS
        figure("G8 refusal", sorted(times)[int(0.99 * len(times))])
        for sock in socks:
            said = b""
            while not said.endswith(b"\r\n0\r\n\r\n"):
                said = said[-1000:] + sock.recv(2**16)
            assert b"data: [DONE]" in said
    wait_until(lambda: not model.streams)
