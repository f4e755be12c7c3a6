"""A newcomer's way, counted and timed: an answer, an answer out of a document, a training: each within three clicks."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ANNOUNCEMENT, APP
from tests.conftest import ROOT
from tests.core.conftest import sentences
from tests.figures import Figure
from tests.hub_server import FakeHub, serving

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]
MAX_CLICKS = 3
LIMIT_MS = 120_000
WORDS = re.compile(r"\w{3}")  # the starter says what it likes
BEGUN = re.compile("starting|running|finished")
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."
FIRST_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"
FILES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass
class Newcomer:
    """Somebody with a mouse, whose clicks are counted; typing a question and Enter is none."""

    page: Page
    started: float
    clicks: int = 0
    steps: list[str] = field(default_factory=list)

    def click(self, selector: str) -> None:
        self.clicks += 1
        self.page.locator(selector).first.click()

    def choose_file(self, selector: str, path: Path) -> None:
        """One click opens the system's dialog; choosing there is the user's own affair."""
        self.clicks += 1
        self.page.set_input_files(selector, str(path))

    def ask(self, question: str) -> None:
        self.page.fill("#composer textarea", question)
        self.page.press("#composer textarea", "Enter")

    def arrive(self, where: str, figure: Figure) -> None:
        """Tell what the way there took."""
        seconds = time.monotonic() - self.started
        sys.stderr.write(f"\n{where}: {self.clicks} clicks, {seconds:.1f} s from the command on\n")
        figure("newcomer clicks", self.clicks)
        figure(f"newcomer {where}", seconds)
        assert self.clicks <= MAX_CLICKS


@pytest.fixture
def newcomer(tmp_path: Path, browser: Browser) -> Iterator[Newcomer]:
    """A page that nobody has opened before, on an empty data folder; the clock starts with the command."""
    hub = FakeHub({name: (ROOT / "models" / "starter" / name).read_bytes() for name in FILES}, name=FIRST_MODEL)
    hub.commit = "989aa7980e4cf806f80c7fef2b1adb7bc71aa306"
    with serving(hub) as hub.url:
        environment = os.environ | {"ASTRAI_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1", "HF_ENDPOINT": hub.url}
        command = [sys.executable, "-m", *APP]
        started = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            line = next(line for line in process.stdout if line.startswith(ANNOUNCEMENT))
            page = browser.new_context(locale="en-US").new_page()
            page.goto(line.removeprefix(ANNOUNCEMENT).strip())
            page.wait_for_selector("#first .card", timeout=LIMIT_MS)
            yield Newcomer(page, started)
            process.terminate()
            process.communicate(timeout=30)


def test_to_the_first_answer_of_the_starter(newcomer: Newcomer, figure: Figure) -> None:
    newcomer.click("#first .act.starter")
    newcomer.ask("Hello! Who are you?")
    expect(newcomer.page.locator("#conversation .bot.message").last).to_contain_text(WORDS, timeout=LIMIT_MS)
    newcomer.arrive("answer", figure)


def test_from_nothing_to_a_downloaded_model_that_answers(newcomer: Newcomer, figure: Figure) -> None:
    newcomer.click(f"#first .act.download[data-offer='{FIRST_MODEL}']")
    expect(newcomer.page.locator("#model input")).to_have_value(FIRST_MODEL, timeout=LIMIT_MS)
    newcomer.ask("Hello! Who are you?")
    expect(newcomer.page.locator("#conversation .bot.message").last).to_contain_text(WORDS, timeout=LIMIT_MS)
    newcomer.arrive("model", figure)
    assert newcomer.clicks == 1


def test_to_an_answer_that_cites_a_document(newcomer: Newcomer, tmp_path: Path, figure: Figure) -> None:
    path = tmp_path / "ferries.md"
    path.write_text(f"# Ferries\n\n{FACT}\n", encoding="utf-8")
    page = newcomer.page
    newcomer.click("button[role=tab]:has-text('Library')")
    newcomer.choose_file("#drop-zone input[type=file]", path)
    expect(page.locator("#documents")).to_contain_text("ferries.md", timeout=LIMIT_MS)
    newcomer.click("#ask-documents")
    page.wait_for_selector("#composer textarea:visible")
    newcomer.ask("When does the ferry to Pellworm leave Nordstrand?")
    cited = page.locator("#conversation a[href^='/library/passage/']").first
    expect(cited).to_be_attached(timeout=LIMIT_MS)
    expect(page.locator("#conversation")).to_contain_text("half past seven")
    newcomer.arrive("citation", figure)


def test_to_a_training_that_has_begun(newcomer: Newcomer, tmp_path: Path, figure: Figure) -> None:
    words = sentences(400, seed=5)
    rows = [{"instruction": f"{a}?", "output": b} for a, b in zip(words[::2], words[1::2], strict=True)]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    page = newcomer.page
    newcomer.click("button[role=tab]:has-text('Studio')")
    newcomer.choose_file("#data-zone input[type=file]", path)
    expect(page.locator("#data-report .report")).to_be_visible(timeout=LIMIT_MS)
    newcomer.click("#start-run")
    expect(page.locator("#runs-board li[data-run] .badge").first).to_have_text(BEGUN, timeout=LIMIT_MS)
    newcomer.arrive("run", figure)
