"""Five hundred sockets that send a byte a second, to the program as it is started: they hurt nobody, and are ended."""

import asyncio
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from app.allowed_routes import JSON_BODY
from app.web_server import HEAD_TIMEOUT_S
from tests.conftest import ROOT
from tests.figures import Figure

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(300)]

NUM_SOCKETS, BYTE_S, SLACK_S = 500, 1.0, 5.0
HEALTH_S, MAX_HEALTH_S = 0.05, 0.2


@dataclass(frozen=True, slots=True)
class Served:
    """The program: its port, a cookie of its page and the key of its API."""

    port: int
    cookie: str
    key: str

    def slow(self, number: int) -> tuple[bytes, float]:
        """What one socket sends at once before it drips, and after how many seconds it must have been ended."""
        host = f"Host: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\nContent-Length: 9000\r\n"
        page = f"POST /gradio_api/queue/join HTTP/1.1\r\n{host}Origin: http://127.0.0.1:{self.port}\r\n"
        api = f"POST /v1/chat/completions HTTP/1.1\r\n{host}"
        head, body = HEAD_TIMEOUT_S, JSON_BODY.timeout_s + HEAD_TIMEOUT_S  # what comes after a refusal is a head
        kinds = (
            ("", head),
            (f"{api}X-Slow: ", head),
            (f"{page}Cookie: {self.cookie}\r\n\r\n", body),
            (f"{api}Authorization: Bearer {self.key}\r\n\r\n", body),
            (f"{page}\r\n", head),  # refused at its head
        )
        said, limit_s = kinds[number % len(kinds)]
        return said.encode(), limit_s


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home: Path = tmp_path_factory.mktemp("home")
    environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        login = next(line for line in process.stdout if line.startswith("AstrAI is at ")).split()[-1]
        address = login.partition("/login")[0]
        opened = httpx.get(login, timeout=60)
        httpx.get(f"{address}/v1/models", timeout=60)  # imports what answers programs
        (cookie,) = opened.cookies.items()
        yield Served(int(address.rpartition(":")[2]), "=".join(cookie), (home / "api.key").read_text().strip())
        process.terminate()
        process.communicate(timeout=30)


async def drip(port: int, said: bytes, wait_s: float) -> float:
    """Send a byte a second for as long as the server listens; how long it did."""
    await asyncio.sleep(wait_s)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    begin = time.monotonic()
    writer.write(said)

    async def send() -> None:
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(BYTE_S)

    sending = asyncio.create_task(send())
    with suppress(ConnectionError):
        while await reader.read(2**16):
            pass
    sending.cancel()
    writer.close()
    await asyncio.gather(sending, return_exceptions=True)
    return time.monotonic() - begin


def attack(port: int, slow: list[bytes]) -> list[float]:
    """How long each socket was listened to."""

    async def run() -> list[float]:
        drips = (drip(port, said, BYTE_S * place / len(slow)) for place, said in enumerate(slow))
        return await asyncio.gather(*drips)

    return asyncio.run(run())


def health_s(port: int) -> float:
    """How long /health takes on a connection of its own: those are what the attack would use up."""
    begin = time.perf_counter()
    with closing(HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
    return time.perf_counter() - begin


def test_five_hundred_slow_sockets_hurt_nobody_and_are_ended(served: Served, figure: Figure) -> None:
    slow = [served.slow(number) for number in range(NUM_SOCKETS)]
    times: list[float] = []
    with multiprocessing.get_context("spawn").Pool(1) as attacker:  # which must not take the time of who asks here
        lasting = attacker.apply_async(attack, (served.port, [said for said, _ in slow]))
        while not lasting.ready():
            times.append(health_s(served.port))
            time.sleep(HEALTH_S)
        lasted = lasting.get()
    late = [(*one, seconds) for one, seconds in zip(slow, lasted, strict=True) if seconds > one[1] + SLACK_S]
    p99_s = sorted(times)[int(0.99 * len(times))]
    told = f"/health {len(times)} times, p99 {1000 * p99_s:.0f} ms; sockets {min(lasted):.1f}-{max(lasted):.1f} s"
    sys.stdout.write(f"{told}; load {os.getloadavg()[0]:.1f}\n")
    figure("G8 slow sockets", NUM_SOCKETS - len(late))
    assert late == []
    assert p99_s <= MAX_HEALTH_S
