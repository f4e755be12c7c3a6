"""The words about the studio's runs, from the terminal."""

import json
import time
from collections.abc import Callable

import pytest

from app.__main__ import main
from app.paths import studio_dir
from core.config.train_config import TrainConfig
from core.files import write_json
from studio import Failure, Job, JobSpec, JobState, JobStore, runner
from studio.job_folder import Attempt, End, JobFolder
from tests.studio.conftest import foreground, wait_for_state, wait_for_step

__all__ = ["foreground"]

Add = Callable[..., JobFolder]


@pytest.fixture
def store() -> JobStore:
    return JobStore(studio_dir())


@pytest.fixture
def add(store: JobStore) -> Add:
    """Adds a run that has ended in this way."""

    def add(job_id: str, end: End, *, name: str = "mine") -> JobFolder:
        def fill(folder: JobFolder) -> None:
            folder.write_attempt(Attempt(1, "running", 1.0))
            folder.write_end(1, end)

        return store.add(job_id, JobSpec("train", name, time.time()), fill)

    return add


def begin(store: JobStore, **options: object) -> Job:
    """A run of the trainer without torch."""
    spec = JobSpec("train", "quick", time.time(), module="tests.studio.trainer", metadata=options)
    config = TrainConfig.from_dict({"data": "none", "output": "of the job"})
    return runner._begin(store, store.new_id("pt"), spec, lambda made: write_json(made.config, config.to_dict()))


def test_without_a_run_the_list_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "There is no run yet. Start one: python launch.py train --detach" in capsys.readouterr().out


def test_runs_are_listed_and_one_is_told_with_its_failure(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("run-a", End(JobState.FINISHED, 0, 9.0, 8.0, 100, 100))
    add("run-b", End(JobState.FAILED, 1, 9.0, failure=Failure("oom", "No memory.", "Lower it.")), name="other")
    assert main(["runs"]) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.split()[:2] == ["run-b", "failed"]
    assert second.split()[:3] == ["run-a", "finished", "100/100"]
    assert main(["runs", "other"]) == 0
    told = capsys.readouterr().out
    assert "failed   No memory. (oom)\nremedy   Lower it.\n" in told
    assert "Go on: python launch.py resume run-b" in told
    assert main(["runs", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["state"]) for row in rows] == [("run-b", "failed"), ("run-a", "finished")]


def test_a_name_that_means_none_or_several_runs_is_refused(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    add("run-a", End(JobState.FINISHED, 0, 9.0))
    add("run-b", End(JobState.FINISHED, 0, 9.0))
    assert main(["tail", "run"]) == 1
    assert "'run' means 2 runs: run-b, run-a" in capsys.readouterr().err
    assert main(["stop", "no"]) == 1
    assert "There is no run 'no'." in capsys.readouterr().err
    assert main(["resume", "last"]) == 1
    assert "cannot be resumed: it is finished" in capsys.readouterr().err
    assert main(["runs", "--next", "run-a"]) == 1
    assert "does not wait" in capsys.readouterr().err


def test_a_run_is_followed_stopped_and_resumed(store: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    job = begin(store, num_steps=60, step_s=0.05)
    wait_for_step(store, job.id, 2)
    assert main(["stop", "last"]) == 0
    assert f"{job.id} is stopped at step" in capsys.readouterr().out
    assert main(["resume", job.id[-4:]]) == 0
    assert "goes on, attempt 2" in capsys.readouterr().out
    assert main(["tail", "quick"]) == 0
    shown = capsys.readouterr().out
    assert "step 60" in shown
    assert shown.endswith(f"{job.id} is finished.\n")


def test_now_kills_a_run(store: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    job = begin(store, num_steps=10_000, step_s=0.02)
    wait_for_step(store, job.id, 1)
    assert main(["stop", "last", "--now"]) == 0
    assert f"{job.id} is stopped" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--detach", "--resume"], "Use `python launch.py resume RUN`"),
        (["--detach", "--output", "x"], "Leave out --output"),
        (["--detach", "--nodes", "2"], "Leave out --nodes"),
        (["--queue", "--output", "x"], "Add --detach"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--data", "d", *options]) == 1
    assert problem in capsys.readouterr().err


def test_a_detached_run_is_one_of_the_studio(store: JobStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "no such data", "--max-steps", "3", "--detach", "--name", "night"]) == 0
    told = capsys.readouterr().out
    [job] = store.jobs()
    assert f"{job.id} has started: {job.folder}" in told
    assert (job.name, TrainConfig.from_json(job.folder / "config.json").max_steps) == ("night", 3)
    runner.kill(store, job.id)
    wait_for_state(store, job.id, JobState.STOPPED)
