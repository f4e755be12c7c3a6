"""Many streaming clients at one server: every one answered, in which time, and what 100 who leave at once cost.

Starts `launch.py serve` in a process of its own and asks it with OpenAI's client, as a user's program would. A client
that is told to wait (429) waits as the server says and asks again. Meanwhile /health is asked all the time; how late it
answers is how late the event loop is, and the clients', which run in this process: all ask at once at the start.
Then more clients than there is room for ask for long answers. While the server is full, refusals and /health are
timed; then all break their connections, and /metrics tells when the last of their answers has ended. Resident
memory is noted after each round.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.commands.model_option import add_model_option
from app.paths import ROOT
from core.errors import SetupError

if TYPE_CHECKING:
    import httpx
    import openai

KEY = "benchmark-key-0123456789"
READY_S, STOP_S, SETTLE_S = 120, 10, 30
HEALTH_INTERVAL_S, FILL_S, NUM_PROBES = 0.02, 0.5, 10
TOO_MANY = 429
SUBJECTS = ("rivers", "trains", "bread", "the moon", "winter", "北京", "音乐", "数学", "the sea", "birds")


@dataclass(slots=True)
class Client:
    """What one client saw, in seconds from the start of its round."""

    number: int
    first_s: float = 0.0
    end_s: float = 0.0
    num_tokens: int = 0
    num_refused: int = 0
    refused_ms: list[float] = field(default_factory=list)
    is_whole: bool = False
    error: str = ""


def add_arguments(parser: ArgumentParser) -> None:
    add_model_option(parser)
    parser.add_argument("--clients", type=int, default=100, help="clients at once (default 100)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens for each client (default 32)")
    parser.add_argument("--disconnects", type=int, default=100, help="clients that leave, each round (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of leaving (default 3)")
    parser.add_argument("--max-open", type=int, default=64, help="what the server takes at once (default 64)")
    parser.add_argument("--verbose", action="store_true", help="a line for each client, too")


def run(arguments: Namespace) -> dict[str, Any]:
    with serving(arguments.model, arguments.max_open) as address:
        return asyncio.run(measure(address, arguments))


@contextmanager
def serving(model: str, max_open: int) -> Iterator[str]:
    """The address of a server of this model. Raises SetupError if it ends before it tells its address."""
    options = ["serve", "--port", "0", "--model", model, "--max-open", str(max_open)]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"ASTRAI_HOME": home, "ASTRAI_API_KEY": KEY, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "app", *options]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            yield _address(process)
        finally:
            process.terminate()
            process.communicate(timeout=STOP_S)


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"OPENAI_BASE_URL\W+(http://\S+?)/v1", line):
            return found[1]
    raise SetupError("The server ended without telling its address.", "Start `serve` by hand and read what it says.")


async def measure(address: str, arguments: Namespace) -> dict[str, Any]:
    """All rounds against one server."""
    import httpx
    import openai

    headers = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx.AsyncClient(base_url=address, headers=headers, timeout=READY_S) as watcher,
        openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0, timeout=600) as client,
    ):  # fmt: skip
        await _wait_until_ready(watcher)
        name = (await client.models.list()).data[0].id
        figures = {"model": name, **await herd(client, watcher, name, arguments)}
        return figures | await leavers(client, watcher, name, arguments)


async def _wait_until_ready(watcher: "httpx.AsyncClient") -> None:
    import httpx

    for _ in range(READY_S * 10):
        with suppress(httpx.TransportError):
            await watcher.get("/health")
            return
        await asyncio.sleep(0.1)
    raise SetupError(f"The server did not answer within {READY_S} s.", "Start `serve` by hand and read what it says.")


async def herd(
    client: "openai.AsyncOpenAI", watcher: "httpx.AsyncClient", model: str, arguments: Namespace
) -> dict[str, Any]:
    """All clients at once, each until it has its answer."""
    clients = [Client(number) for number in range(arguments.clients)]
    async with watching_health(watcher) as health:
        started = time.perf_counter()
        await asyncio.gather(*(answered(client, one, model, arguments.tokens, started) for one in clients))
        seconds = time.perf_counter() - started
    if arguments.verbose:
        print_clients(clients)
    refused_ms = [value for one in clients for value in one.refused_ms]
    return {
        "clients": len(clients),
        "clients_answered": sum(one.is_whole for one in clients),
        "clients_told_429_first": sum(one.num_refused > 0 for one in clients),
        "errors": sorted({one.error for one in clients if one.error}),
        "tokens_per_s": round(sum(one.num_tokens for one in clients) / seconds, 1),
        "all_answered_s": round(seconds, 2),
        **percentiles("first_token_s", [one.first_s for one in clients]),
        **percentiles("end_s", [one.end_s for one in clients]),
        **(percentiles("refusal_ms", refused_ms) if refused_ms else {}),
        **percentiles("health_ms", health),
    }


def print_clients(clients: Sequence[Client]) -> None:
    """A line for each client."""
    print(f"{'client':>6} {'429s':>5} {'first s':>8} {'end s':>8} {'tokens':>6}  error")
    for one in clients:
        times = f"{one.first_s:8.2f} {one.end_s:8.2f}"
        print(f"{one.number:6} {one.num_refused:5} {times} {one.num_tokens:6}  {one.error}")


async def answered(client: "openai.AsyncOpenAI", one: Client, model: str, num_tokens: int, started: float) -> None:
    """Ask until there is an answer, waiting as long as the server says between two tries."""
    import openai

    while not one.is_whole and not one.error:
        asked = time.perf_counter()
        try:
            await _stream(client, one, model, num_tokens, started)
        except openai.RateLimitError as exc:
            one.num_refused += 1
            one.refused_ms.append((time.perf_counter() - asked) * 1000)
            await asyncio.sleep(float(exc.response.headers["retry-after"]))
        except openai.OpenAIError as exc:
            one.error = f"{type(exc).__name__}: {exc}"


async def _stream(client: "openai.AsyncOpenAI", one: Client, model: str, num_tokens: int, started: float) -> None:
    chunks = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": f"Tell me about {SUBJECTS[one.number % 10]}, number {one.number}."}],
        max_tokens=num_tokens,
        temperature=1.0,
        seed=one.number,
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in chunks:
        if chunk.usage is not None:
            one.num_tokens = chunk.usage.completion_tokens
        elif chunk.choices[0].delta.content and not one.first_s:
            one.first_s = time.perf_counter() - started
        elif chunk.choices[0].finish_reason:
            one.is_whole = True
    one.end_s = time.perf_counter() - started
    one.first_s = one.first_s or one.end_s


async def leavers(
    client: "openai.AsyncOpenAI", watcher: "httpx.AsyncClient", model: str, arguments: Namespace
) -> dict[str, Any]:
    """Rounds of clients that break their connection, some while they wait and some in mid-answer."""
    free_ms: list[float] = []
    busy = Busy()
    memory = [await metric(watcher, "process_resident_memory_bytes")]
    for number in range(arguments.rounds):
        tasks = [
            asyncio.create_task(_leave_when_cancelled(client, model, number * 1000 + one))
            for one in range(arguments.disconnects)
        ]
        await asyncio.sleep(FILL_S)
        await busy.probe(watcher)
        for task in tasks:
            task.cancel()
        left = time.perf_counter()
        await asyncio.wait(tasks)
        free_ms.append((await _until_free(watcher) - left) * 1000)
        memory.append(await metric(watcher, "process_resident_memory_bytes"))
    return {
        "disconnects": arguments.disconnects,
        **(percentiles("full_refusal_ms", busy.refused_ms) if busy.refused_ms else {}),
        **percentiles("full_health_ms", busy.health_ms),
        "slots_free_ms": [round(value, 1) for value in free_ms],
        "resident_mb": [round(value / 2**20, 1) for value in memory],
    }


@dataclass(slots=True)
class Busy:
    """How a full server answers, in milliseconds."""

    refused_ms: list[float] = field(default_factory=list)
    health_ms: list[float] = field(default_factory=list)

    async def probe(self, watcher: "httpx.AsyncClient") -> None:
        """Ask for an answer, which is refused as long as there is no room, and for /health."""
        for _ in range(NUM_PROBES):
            started = time.perf_counter()
            answer = await watcher.post("/v1/completions", json={"prompt": "Hi", "max_tokens": 1})
            refused = time.perf_counter()
            await watcher.get("/health")
            if answer.status_code == TOO_MANY:
                self.refused_ms.append((refused - started) * 1000)
            self.health_ms.append((time.perf_counter() - refused) * 1000)
            await asyncio.sleep(HEALTH_INTERVAL_S)


async def _leave_when_cancelled(client: "openai.AsyncOpenAI", model: str, seed: int) -> None:
    import openai

    with suppress(openai.RateLimitError):
        chunks = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"Tell me a story, {seed}."}], seed=seed, stream=True
        )
        async for _ in chunks:
            pass


async def _until_free(watcher: "httpx.AsyncClient") -> float:
    """The time at which no answer is under way or waiting."""
    deadline = time.perf_counter() + SETTLE_S
    while await metric(watcher, "astrai_generations_open") > 0:
        if time.perf_counter() > deadline:
            raise SetupError(
                f"Answers of clients that left still run after {SETTLE_S} s.", "This is a fault: report it."
            )
        await asyncio.sleep(0.002)
    return time.perf_counter()


async def metric(watcher: "httpx.AsyncClient", name: str) -> float:
    """The value of a gauge of the server."""
    text = (await watcher.get("/metrics")).text
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found
    return float(found[1])


@asynccontextmanager
async def watching_health(watcher: "httpx.AsyncClient") -> AsyncIterator[list[float]]:
    """Ask /health again and again; the list holds how long each answer took, in milliseconds."""
    times: list[float] = []

    async def ask() -> None:
        while True:
            started = time.perf_counter()
            await watcher.get("/health")
            times.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(HEALTH_INTERVAL_S)

    task = asyncio.create_task(ask())
    try:
        yield times
    finally:
        task.cancel()
        await asyncio.wait([task])


def percentiles(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile and the greatest of some values."""
    ordered = sorted(values)
    cuts = {f"p{share}": ordered[min(len(ordered) - 1, share * len(ordered) // 100)] for share in (90, 99)}
    figures = {"median": statistics.median(ordered), **cuts, "max": ordered[-1]}
    return {f"{name}_{which}": round(value, 2) for which, value in figures.items()}
