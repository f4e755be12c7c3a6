"""Time from `python launch.py` to a page that accepts typing, and to the first word of an answer.

Starts the program in a process of its own on a free port, and opens the address
that it prints in a headless Chromium which is running already, as a user's browser is. A question is typed
at once and sent; the clock stops when the first word of the answer is on the page. The first of the runs
is reported apart: its data folder is empty, so it compiles the kernels for this processor.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from app.machine import CHROMIUM_NAMES
from app.paths import ROOT
from core.errors import SetupError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ANNOUNCEMENT = "AstrAI is at "
STOP_S = 10
FIRST_ANSWER_MS = 90_000
COMPOSER = "#composer textarea"
QUESTION = "Hello! Who are you?"
HAS_ANSWER = "document.querySelector('#conversation .bot .message-content')?.innerText.trim()"
REACH = {"typing_s": 5.0, "first_word_s": 8.0}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=3, help="starts after the first (default 3)")


def run(arguments: Namespace) -> dict[str, Any]:
    from playwright.sync_api import sync_playwright

    path = next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)
    if path is None:
        raise SetupError("This benchmark wants Chromium.", "sudo apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        with tempfile.TemporaryDirectory() as home:
            first, *later = [start_once(browser, home) for _ in range(1 + max(1, arguments.repeats))]
        browser.close()
    figures: dict[str, Any] = {f"first_start_{name}": round(value, 2) for name, value in first.items()}
    for name in first:
        values = [times[name] for times in later]
        figures |= {name: round(statistics.median(values), 2), f"{name}_spread": round(max(values) - min(values), 2)}
    return figures | {f"reach_{name}": limit for name, limit in REACH.items()} | {"num_starts": len(later)}


def start_once(browser: "Browser", home: str) -> dict[str, float]:
    """Seconds until the address is printed, until text can be typed, and until the first word is there.

    Raises: SetupError if the program ends before that.
    """
    command = [sys.executable, str(ROOT / "launch.py"), "app", "--no-browser", "--port", "0"]
    environment = os.environ | {"ASTRAI_HOME": home, "PYTHONUNBUFFERED": "1"}
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        address = wait_for_address(process)
        times = {"address_s": time.perf_counter() - started}
        page = browser.new_page()
        page.goto(address)
        page.fill(COMPOSER, QUESTION)
        times["typing_s"] = time.perf_counter() - started
        page.press(COMPOSER, "Enter")
        page.wait_for_function(HAS_ANSWER, timeout=FIRST_ANSWER_MS)
        times["first_word_s"] = time.perf_counter() - started
        page.close()
    finally:
        process.terminate()
        process.communicate(timeout=STOP_S)
    return times


def wait_for_address(process: subprocess.Popen[str]) -> str:
    """The address that the program announces."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(ANNOUNCEMENT):
            return line.removeprefix(ANNOUNCEMENT).strip()
    raise SetupError("The program ended without announcing its address.", "Start it by hand and read what it says.")
