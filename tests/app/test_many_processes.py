"""A job of several processes as the command line starts, shows and stops it."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import many_processes
from app.commands.train import result_line
from app.many_processes import Job, train_on_many
from core.config.train_config import TrainConfig
from core.errors import TrainingError


def config_of(tmp_path: Path, **changes: object) -> TrainConfig:
    return TrainConfig.from_dict({"data": "data", "output": str(tmp_path / "run"), "num_threads": 3, **changes})


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[list[str]]]:
    """Lets a small program stand where the launcher does; returns the command lines that were asked for."""

    def with_program(program: str) -> list[list[str]]:
        commands: list[list[str]] = []

        def command(nproc: int, arguments: list[str], **options: object) -> list[str]:
            commands.append([str(nproc), *arguments, json.dumps(options)])
            return [sys.executable, "-c", program]

        monkeypatch.setattr(many_processes, "launch_command", command)
        return commands

    return with_program


def test_rows_of_the_first_rank_are_shown_and_other_lines_pass_through(
    tmp_path: Path, launched: Callable[[str], list[list[str]]], capfd: pytest.CaptureFixture[str]
) -> None:
    commands = launched("""
import json, os
print(json.dumps({"step": 1, "threads": os.environ["OMP_NUM_THREADS"]}))
print("a library's word")
""")
    rows: list[dict[str, object]] = []
    config = config_of(tmp_path)
    job = Job(2, nodes=3, rendezvous="host:1", max_restarts=4)
    assert train_on_many(config, job, resume=False, show=rows.append) == 0
    assert rows == [{"step": 1, "threads": "3"}]
    assert capfd.readouterr().err == "a library's word\n"
    path = tmp_path / "run/config.json"
    options = {"nodes": 3, "rendezvous": "host:1", "max_restarts": 4}
    assert commands == [["2", "core.trainer", str(path), "--report", json.dumps(options)]]
    assert TrainConfig.from_json(path) == config


def test_a_failed_job_gives_its_exit_status(tmp_path: Path, launched: Callable[[str], list[list[str]]]) -> None:
    launched("raise SystemExit(1)")
    assert train_on_many(config_of(tmp_path), Job(2), resume=False, show=lambda _: None) == 1


def test_ctrl_c_reaches_the_launcher_once(tmp_path: Path, launched: Callable[[str], list[list[str]]]) -> None:
    launched("""
import signal, time
signal.signal(signal.SIGINT, lambda *_: print('{"stopping": true}', flush=True))
print('{"ready": true}', flush=True)
time.sleep(1)
""")
    rows: list[dict[str, object]] = []

    def show(row: dict[str, object]) -> None:
        rows.append(row)
        if "ready" in row:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    assert train_on_many(config_of(tmp_path), Job(2), resume=False, show=show) == 0
    assert rows == [{"ready": True}, {"stopping": True}]
    assert signal.getsignal(signal.SIGINT) is before


def test_another_run_in_the_folder_is_not_overwritten(
    tmp_path: Path, launched: Callable[[str], list[list[str]]]
) -> None:
    commands = launched("")
    train_on_many(config_of(tmp_path), Job(1), resume=False, show=lambda _: None)
    with pytest.raises(TrainingError, match="already holds a run"):
        train_on_many(config_of(tmp_path, seed=5), Job(1), resume=False, show=lambda _: None)
    train_on_many(config_of(tmp_path, seed=5), Job(1), resume=True, show=lambda _: None)
    assert TrainConfig.from_json(tmp_path / "run/config.json").seed == 1  # what a resume is compared with
    assert commands[-1][1:4] == ["core.trainer", str(tmp_path / "run/resume.json"), "--report"]


def test_the_last_line_says_where_the_model_or_the_checkpoint_is() -> None:
    assert result_line(Path("runs/a/model")) == (
        "The model is in runs/a/model. Chat with it: python launch.py chat --model runs/a"
    )
    assert result_line(Path("runs/a/checkpoints/step-00000004")).endswith(
        "Go on: python launch.py train --output runs/a --resume"
    )
