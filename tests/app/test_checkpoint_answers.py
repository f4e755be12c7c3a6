"""A prompt is answered by the checkpoints of a run in a child process, which ends when nobody waits."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from app import checkpoint_answers
from app.checkpoint_answers import Answer, CheckpointAnswers, checkpoints
from core.config.model_config import PRESETS
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from tests.core.conftest import tokenizer

__all__ = ["tokenizer"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def run(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A run with three checkpoints, the middle one without weights."""
    model = Transformer(PRESETS["tiny"])
    model.init_weights(seed=1)
    for step in (10, 20, 30):
        save_model(model, tmp_path / "checkpoints" / f"step-{step:08d}", tokenizer=tokenizer)
    (tmp_path / "checkpoints" / "step-00000020" / "model.safetensors").unlink()
    (tmp_path / "checkpoints" / ".step-00000040.tmp").mkdir()
    return tmp_path


def children() -> list[psutil.Process]:
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            found += [one] if "app.checkpoint_program" in one.cmdline() else []
    return found


def wait_for(claim: Callable[[], bool], timeout_s: float = 120) -> None:
    until = time.monotonic() + timeout_s
    while not claim() and time.monotonic() < until:
        time.sleep(0.05)
    assert claim()


def answers_of(asked: CheckpointAnswers, run: Path) -> list[Answer]:
    wait_for(lambda: not asked.look(run)[1])
    return asked.look(run)[0]


def test_every_checkpoint_answers_and_one_that_cannot_says_why(run: Path) -> None:
    assert [path.name[-2:] for path in checkpoints(run)] == ["10", "20", "30"]
    asked = CheckpointAnswers()
    assert asked.look(run) == ([], 0)
    asked.ask(run, "Hello", 1)
    wait_for(lambda: len(children()) == 1)
    first, second, third = answers_of(asked, run)
    assert (first.step, second.step, third.step) == (10, 20, 30)
    assert first.text == third.text != ""
    assert (first.is_error, second.is_error, third.is_error) == (False, True, False)
    wait_for(lambda: not children())


def test_a_stop_and_an_answer_that_takes_too_long_end_the_child(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = CheckpointAnswers()
    asked.ask(run, "Hello", 1)
    wait_for(lambda: len(children()) == 1)
    asked.stop(run)
    wait_for(lambda: not children())
    assert asked.look(run)[1] == 0
    monkeypatch.setattr(checkpoint_answers, "ANSWER_TIMEOUT_S", 0.01)
    shutil.rmtree(run / "checkpoints" / "step-00000020")
    asked.ask(run, "Hello", 1)
    assert [answer.text for answer in answers_of(asked, run)] == [
        "step-00000010 gave no answer in 0 s.",
        "step-00000030 gave no answer in 0 s.",
    ]
