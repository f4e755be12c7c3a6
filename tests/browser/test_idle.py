"""A page that nobody touches costs next to nothing: the server, and the browser with its timers."""

import os
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from playwright.sync_api import Browser, Page

from tests.figures import Figure

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]
SECONDS, SETTLE_S, SAMPLE_S, PATIENCE_S = 30.0, 8.0, 2.0, 90.0
MAX_SHARE = 0.02  # of one core


def cpu_s(processes: list[psutil.Process]) -> float:
    """The processor time of processes and those below them."""
    found = {one.pid: one for process in processes for one in (process, *process.children(recursive=True))}
    return sum(sum(one.cpu_times()[:2]) for one in found.values())


def servers() -> list[psutil.Process]:
    return [one for one in psutil.Process(os.getpid()).children() if "app" in one.cmdline()[-5:]]


def browsers() -> list[psutil.Process]:
    below = psutil.Process(os.getpid()).children(recursive=True)
    return [one for one in below if "--type=renderer" in " ".join(one.cmdline())]


def settle() -> None:
    """Wait until what a page begins with is done: the models page measures the machine's speed, once."""
    time.sleep(SETTLE_S)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        before = cpu_s(servers()[-1:])
        time.sleep(SAMPLE_S)
        if 0 <= cpu_s(servers()[-1:]) - before < SAMPLE_S / 10:
            return


def measure(processes: list[psutil.Process]) -> float:
    """The share of a core that processes take while nothing is done."""
    assert processes
    before = cpu_s(processes)
    time.sleep(SECONDS)
    return (cpu_s(processes) - before) / SECONDS


@pytest.mark.parametrize("tab", ["Chat", "Library", "Studio", "Models", "Settings"])
def test_an_idle_page_takes_less_than_a_fiftieth_of_a_core(
    tab: str, start: Callable[..., str], browser: Browser, figure: Figure
) -> None:
    page: Page = browser.new_context(locale="en-US").new_page()
    page.goto(start())
    page.wait_for_selector("#composer textarea")
    # The first start builds code for the processor.
    page.get_by_text("ready", exact=False).first.wait_for(timeout=240_000)
    page.get_by_role("tab", name=tab, exact=True).first.click()
    settle()
    before = cpu_s(browsers())
    server = measure(servers()[-1:])
    shown = (cpu_s(browsers()) - before) / SECONDS
    sys.stderr.write(f"\nidle on {tab}: server {server:.2%} of a core, browser {shown:.2%}\n")
    figure("page idle", 100 * max(server, shown))
    assert server < MAX_SHARE
    assert shown < MAX_SHARE
