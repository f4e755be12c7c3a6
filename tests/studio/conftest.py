"""A studio of its own for each test, with a model so small that a run is seconds, and no process left behind."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config.train_config import TrainConfig
from core.files import write_json
from core.parallel.priority import BACKGROUND
from studio import Job, JobSpec, JobState, JobStore, runner
from studio.processes import RUN_VARIABLE
from tests.core.conftest import no_gpu, pair_data, run_options, text_data, tokenizer

__all__ = ["no_gpu", "pair_data", "run_options", "text_data", "tokenizer"]

TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run beside these: jobs that give way to everything would wait for all of them."""
    monkeypatch.setenv(BACKGROUND, "0")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A studio in an empty folder; whatever runs for it when the test ends is killed."""
    yield JobStore(tmp_path / "studio")
    for process in processes_under(tmp_path):
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture
def config(text_data: Path) -> Callable[..., TrainConfig]:
    """A run on the tiny shape that takes a step every few milliseconds."""

    def make(**changes: Any) -> TrainConfig:
        options = {
            "data": str(text_data), "output": "of the job", "preset": "tiny", "max_seq_len": 32, "micro_batch_size": 2,
            "global_batch_size": 4, "max_steps": 6, "precision": "fp32", "device": "cpu", "num_threads": 1,
            "log_interval": 1, "validation_interval": 0,
        }  # fmt: skip
        return TrainConfig.from_dict({**options, **changes})

    return make


@pytest.fixture
def begin(store: JobStore) -> Callable[..., Job]:
    """Starts a training run whose trainer is tests/studio/trainer.py, with these options of that."""

    def begin(*, queued: bool = False, **options: Any) -> Job:
        config = TrainConfig.from_dict({"data": "none", "output": "of the job"})
        spec = JobSpec("train", "test", time.time(), module="tests.studio.trainer", queued=queued, metadata=options)
        return runner._begin(store, store.new_id("pt"), spec, lambda made: write_json(made.config, config.to_dict()))

    return begin


def processes_under(folder: Path) -> list[psutil.Process]:
    """Supervisors, keepers and jobs of a studio that lies in this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            words, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        named = [word for word in words if word.startswith(str(folder))] or environment.get(RUN_VARIABLE, "")
        if process.pid != psutil.Process().pid and named and str(folder) in str(named):
            found.append(process)
    return found


def wait_for(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """What the condition gives once that is true."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return value


def wait_for_state(store: JobStore, job_id: str, *states: JobState, timeout_s: float = TIMEOUT_S) -> Job:
    """The job once it is in one of these states."""
    return wait_for(lambda: (job := store.job(job_id)).state in states and job, timeout_s)


def wait_for_step(store: JobStore, job_id: str, step: int) -> Job:
    """The job once its metrics have so many steps."""
    metrics = store.folder(job_id) / "metrics.jsonl"

    def is_there() -> bool:
        steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()] if metrics.exists() else []
        return max(steps, default=0) >= step

    wait_for(is_there)
    return store.job(job_id)
