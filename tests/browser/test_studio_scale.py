"""Two hundred runs in the browser, one of them with a million rows: how long the list and the charts take.

`pytest -s` shows the figures. They count on a machine that does nothing else.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from core.files import write_json
from studio import JobSpec
from studio.job_folder import Attempt, End, JobFolder, JobState
from tests.browser.test_studio import Program, open_studio, show_panel

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(900)]

NUM_SHORT, SHORT_ROWS, LONG_ROWS = 199, 2000, 1_000_000
NAMES = ("loss", "learning_rate", "grad_norm", "tokens_per_s", "data_wait", "efficiency", "eta_s", "memory_bytes")
NUM_TICKS = 30
OPEN_S, TICK_S = 1.0, 0.1
# The page measures its ticks; what it does not do for itself is left out of them: waiting for the next.
WATCH = """
window.ticks = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (entry.name === "studio-tick") window.ticks.push(entry.duration);
}).observe({ entryTypes: ["measure"] });
"""
DRAWN = """(count) => document.querySelectorAll("li[data-run]").length === count
  && document.querySelectorAll("figure[data-group] polyline").length >= 6"""


def make_run(runs: Path, number: int, metrics: Path, num_steps: int) -> None:
    """A finished run whose metrics are a copy of a file."""
    folder = JobFolder(runs / f"20260101-{number:06d}-sft-0000")
    created = 1.76e9 + number
    write_json(folder.spec, JobSpec("train", f"Run {number}", created).to_dict())
    folder.write_attempt(Attempt(1, "running", created))
    folder.write_end(1, End(JobState.FINISHED, 0, created + 60, 60.0, num_steps, num_steps))
    shutil.copyfile(metrics, folder.root / "metrics.jsonl")


def rows(first: int, count: int) -> str:
    made = ({"attempt": 1, "step": n, **dict.fromkeys(NAMES, 1 + n % 977 / 7)} for n in range(first, first + count))
    return "".join(json.dumps(row) + "\n" for row in made)


@pytest.fixture(scope="module")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the runs; the newest is the longest."""
    home = tmp_path_factory.mktemp("home")
    short, long = home / "short.jsonl", home / "long.jsonl"
    short.write_text(rows(1, SHORT_ROWS), encoding="utf-8")
    with long.open("w", encoding="utf-8") as file:
        for first in range(1, LONG_ROWS, 10_000):
            file.write(rows(first, 10_000))
    for number in range(NUM_SHORT):
        make_run(home / "studio" / "runs", number, short, SHORT_ROWS)
    make_run(home / "studio" / "runs", NUM_SHORT, long, LONG_ROWS)
    return home


def opened(page: Page) -> float:
    """Seconds from the click on the list of runs until it and the newest run's charts are there."""
    open_studio(page)
    page.wait_for_timeout(1000)  # for what the page itself begins with
    start = time.monotonic()
    show_panel(page, "Runs")
    page.wait_for_function(DRAWN, arg=NUM_SHORT + 1, polling="raf")
    return time.monotonic() - start


def ticks_of(page: Page, count: int) -> list[float]:
    """Seconds of the next ticks."""
    page.evaluate("window.ticks.length = 0")
    page.wait_for_function("(count) => window.ticks.length >= count", arg=count, timeout=count * 5000)
    return sorted(took / 1000 for took in page.evaluate("window.ticks"))


def told(name: str, values: list[float]) -> None:
    p50, longest = values[len(values) // 2] * 1000, values[-1] * 1000
    sys.stdout.write(f"{name}: p50 {p50:.0f} ms, max {longest:.0f} ms of {len(values)}\n")


def test_two_hundred_runs_open_in_a_second_and_tick_in_a_tenth(many_runs: Path, browser: Browser) -> None:
    program = Program(many_runs, browser)
    try:
        page = program.open()
        page.evaluate(WATCH)
        open_s = opened(page)
        sys.stdout.write(f"\nopened in {open_s:.2f} s\n")
        early = ticks_of(page, NUM_TICKS)
        told("ticks while the longest is read", early)
        page.locator("li[data-run] .open-run").nth(5).click()
        late = ticks_of(page, NUM_TICKS)
        told("ticks at a short run", late)
    finally:
        program.close()
    assert open_s <= OPEN_S
    assert max(early[-1], late[-1]) <= TICK_S
