"""Time from `python launch.py` to a page that answers, as a user waits for it.

Starts the program in a process of its own on a free port with an empty data folder, waits for the line
that names the address, logs in with it and fetches the page and /health. The first of the runs is
reported apart: it fills the caches of the disk.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from argparse import ArgumentParser, Namespace
from http.cookiejar import CookieJar
from typing import Any

from app.paths import ROOT
from core.errors import SetupError

ANNOUNCEMENT = "AstrAI is at "
REQUEST_TIMEOUT_S = 30
STOP_S = 10
REACH_S = 5.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="starts after the first (default 3)")


def run(arguments: Namespace) -> dict[str, Any]:
    _, first_s = start_once()
    printed_s, answered_s = zip(*(start_once() for _ in range(max(1, arguments.repeats))), strict=True)
    return {
        "first_start_s": round(first_s, 2),
        "page_answers_s": round(statistics.median(answered_s), 2),
        "page_answers_spread_s": round(max(answered_s) - min(answered_s), 2),
        "address_printed_s": round(statistics.median(printed_s), 2),
        "num_starts": len(answered_s),
        "reach_s": REACH_S,
    }


def start_once() -> tuple[float, float]:
    """Seconds until the address is printed, and until page and health have both answered with 200.

    Raises: SetupError if the program ends before that.
    """
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, str(ROOT / "launch.py"), "app", "--no-browser", "--port", "0"]
        environment = os.environ | {"ASTRAI_HOME": home, "PYTHONUNBUFFERED": "1"}
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            address = wait_for_address(process)
            printed_s = time.perf_counter() - started
            fetch_page(address)
            return printed_s, time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(STOP_S)


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """The address that the program announces."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(ANNOUNCEMENT):
            return line.removeprefix(ANNOUNCEMENT).strip()
    raise SetupError("The program ended without announcing its address.", "Start it by hand and read what it says.")


def fetch_page(address: str) -> None:
    """Log in with the announced address, then fetch the page and its health; anything but 200 raises."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
    )
    base = "/".join(address.split("/")[:3])
    for url in (address, f"{base}/", f"{base}/health"):
        with opener.open(url, timeout=REQUEST_TIMEOUT_S) as response:
            response.read()
