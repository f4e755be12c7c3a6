"""The program in a process of its own, a model that talks at length, and a headless Chromium."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from tests.conftest import CHROMIUM_NAMES, ROOT
from tests.core.conftest import sentences

APP = ("app", "app", "--no-browser", "--port", "0")
ANNOUNCEMENT = "AstrAI is at "
expect.set_options(timeout=20_000)  # on a machine that does other things too
# With this spread of the words' logits, those of all else, which are zero, are beyond the page's top-p.
LOGIT_SPREAD = 3.0
# So many that an answer takes seconds, and can be stopped.
NUM_LAYERS = 96
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def talkative_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that says words and never ends its answer by itself."""
    tokenizer = Tokenizer.train(sentences(400, seed=0), vocab_size=420)
    shape = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 4096, "tie_word_embeddings": False}
    shape["num_hidden_layers"] = NUM_LAYERS
    model = Transformer(ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), **shape}))
    model.init_weights(seed=1)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=LOGIT_SPREAD / shape_width(model), generator=torch.Generator().manual_seed(1))
        others = [i for i in range(tokenizer.vocab_size) if not tokenizer.decode([i]).strip().isalpha()]
        model.lm_head.weight[others] = 0
    folder = tmp_path_factory.mktemp("models") / "talkative"
    save_model(model, folder, tokenizer=tokenizer)
    return folder


def shape_width(model: Transformer) -> float:
    """The length of a normalised hidden state."""
    return float(model.config.hidden_size**0.5)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Starts the program with options, on an empty data folder or a given one; the address that it announces."""
    processes: list[subprocess.Popen[str]] = []

    def start_program(*options: str, program: Sequence[str] = APP, home: Path | None = None) -> str:
        command = [sys.executable, "-m", *program, *options]
        home = home or tmp_path_factory.mktemp("home")
        environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith(ANNOUNCEMENT))
        return line.removeprefix(ANNOUNCEMENT).strip()

    yield start_program
    for process in processes:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium, for this module alone: while Playwright is open, no other test can run an event loop."""
    executable = next(path for path in map(shutil.which, CHROMIUM_NAMES) if path)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=OPTIONS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def storage(start: Callable[..., str], browser: Browser, talkative_model: Path) -> tuple[str, dict[str, object]]:
    """The page's address and the cookies of a browser that has logged in."""
    address = start("--model", str(talkative_model))
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#composer textarea")
    state = dict(context.storage_state())
    context.close()
    return address.partition("/login")[0], state


@pytest.fixture
def open_page(browser: Browser, storage: tuple[str, dict[str, object]]) -> Iterator[Callable[..., Page]]:
    """Opens the page as a new visitor with options of Playwright's `new_context`; `watch` sees it before it loads."""
    address, state = storage
    contexts = []

    def open_one(watch: Callable[[Page], None] = lambda page: None, **options: object) -> Page:
        context = browser.new_context(storage_state={"cookies": state["cookies"]}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        watch(page)
        page.goto(address)
        page.wait_for_selector("#composer textarea")
        return page

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def browser_page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has never been here."""
    context = browser.new_context(locale="en-US")
    yield context.new_page()
    context.close()
