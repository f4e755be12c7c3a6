"""A run that ended early, in any way, goes on as if nothing had happened."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.config.train_config import TrainConfig
from core.data.metric_rows import latest_rows
from core.errors import TrainingError
from core.model.checkpoint import find_model
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import CheckpointCallback, MetricsCallback, StepResult
from core.trainer.metrics import MetricsWriter
from core.trainer.run_folder import RunFolder, read_metrics
from core.trainer.stop_signal import StopSignal
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]
# A run whose process kills itself: a checkpoint is due after step 3, and steps 4 and 5 are lost.
KILLED_BETWEEN_STEPS = """
def show(row):
    if row.get("step") == 3:
        time.sleep(1.1)
    if row.get("step") == 5:
        os.kill(os.getpid(), signal.SIGKILL)
"""
# The second checkpoint dies between its weights and its manifest.
KILLED_WHILE_SAVING = """
def show(row):
    if row.get("step") in (3, 4):
        time.sleep(1.1)
    if row.get("step") == 4:
        run_folder.write_json = lambda path, value: os.kill(os.getpid(), signal.SIGKILL)
"""
# A resumed run that dies: its checkpoint is due after step 5, and step 6 is lost.
KILLED_AFTER_RESUMING = """
def show(row):
    if row.get("step") == 5:
        time.sleep(1.1)
    if row.get("step") == 6:
        os.kill(os.getpid(), signal.SIGKILL)
"""
KILLED_AT_STEP = """
def show(row):
    if row.get("step") == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from core.config.train_config import TrainConfig
from core.trainer import run_folder, train
{show}
train(TrainConfig.from_json(Path(sys.argv[1])), resume="--resume" in sys.argv, report=show)
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def optimizer_state(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = RunFolder(run).newest_checkpoint()
    assert checkpoint is not None
    return load_file(checkpoint / "optimizer.safetensors")


def assert_same_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def run_steps(config: TrainConfig, count: int) -> None:
    """Begin a run and stop it, orderly, after `count` steps."""
    stop = StopSignal()

    class StopAfter:
        def after_step(self, context: TrainContext, result: StepResult) -> None:
            if context.step == count:
                stop.request()

        def at_end(self, context: TrainContext) -> None:
            assert context.step == count

    context = build_context(config, resume=False)
    with closing(MetricsWriter(context.run.metrics, context.attempt)) as writer:
        Trainer(context, [CheckpointCallback(), MetricsCallback(context, writer, None), StopAfter()]).run(stop)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Every write beyond `size` bytes of a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("count", [1, 3, 5])
def test_resumed_run_is_bit_equal_to_the_uninterrupted_one(
    run_options: Options, optimizer: str, count: int, tmp_path: Path
) -> None:
    whole = train(TrainConfig.from_dict(run_options(output=str(tmp_path / "whole"), optimizer=optimizer)))
    config = TrainConfig.from_dict(run_options(optimizer=optimizer))
    run_steps(config, count)
    resumed = train(config, resume=True)
    assert_same_tensors(weights(whole), weights(resumed))
    assert_same_tensors(optimizer_state(tmp_path / "whole"), optimizer_state(tmp_path / "run"))


@pytest.mark.parametrize("show", [KILLED_BETWEEN_STEPS, KILLED_WHILE_SAVING], ids=["between steps", "while saving"])
@pytest.mark.slow
def test_a_run_killed_with_signal_nine_resumes_to_the_uninterrupted_one(
    run_options: Options, show: str, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=8, checkpoint_interval_s=1.0, optimizer="muon"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    killed = subprocess.run([sys.executable, "-c", PROGRAM.format(show=show), str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    checkpoint = RunFolder(tmp_path / "run").newest_checkpoint()
    assert checkpoint is not None
    assert checkpoint.name == "step-00000003"
    resumed = train(config, resume=True)
    whole = train(TrainConfig.from_dict({**config.to_dict(), "output": str(tmp_path / "whole")}))
    assert_same_tensors(weights(whole), weights(resumed))
    assert_same_tensors(optimizer_state(tmp_path / "whole"), optimizer_state(tmp_path / "run"))
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    expected = {row["step"]: row["loss"] for row in read_metrics(tmp_path / "whole" / "metrics.jsonl") if "loss" in row}
    assert [(row["step"], row["loss"]) for row in rows if row["attempt"] == 2] == sorted(expected.items())[3:]


@pytest.mark.slow
def test_a_run_that_is_not_done_stands_for_its_newest_checkpoint(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=8, checkpoint_interval_s=1.0))
    run, path = RunFolder(tmp_path / "run"), tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    stopped = train(
        config, report=lambda row: "loss" in row and row.get("step") == 2 and signal.raise_signal(signal.SIGTERM)
    )
    assert stopped == run.checkpoints / "step-00000002" == find_model(run.root)
    command = [sys.executable, "-c", PROGRAM.format(show=KILLED_AFTER_RESUMING), str(path), "--resume"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert find_model(run.root) == run.checkpoints / "step-00000005"
    assert train(config, resume=True) == run.model == find_model(run.root)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_killed_at_twenty_random_steps_ends_as_the_uninterrupted_one(
    run_options: Options, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=150, checkpoint_interval_s=0.05))
    path, run, draw = tmp_path / "config.json", RunFolder(tmp_path / "run"), random.Random(4)
    path.write_text(json.dumps(config.to_dict()))
    for attempt in range(20):
        newest = run.newest_checkpoint()
        begun = int(newest.name.removeprefix("step-")) if newest else 0
        show = KILLED_AT_STEP.format(step=begun + draw.randint(2, 7))
        command = [sys.executable, "-c", PROGRAM.format(show=show), str(path), *(["--resume"] if attempt else [])]
        killed = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
        assert killed.returncode == -signal.SIGKILL, (attempt, killed.stderr)
    rest = TrainConfig.from_dict({**config.to_dict(), "checkpoint_interval_s": 300.0})
    resumed = train(rest, resume=True)
    whole = train(TrainConfig.from_dict({**rest.to_dict(), "output": str(tmp_path / "whole")}))
    assert_same_tensors(weights(whole), weights(resumed))
    assert_same_tensors(optimizer_state(tmp_path / "whole"), optimizer_state(tmp_path / "run"))
    rows = [row for row in read_metrics(run.metrics) if "loss" in row]
    expected = [
        (row["step"], row["loss"]) for row in read_metrics(RunFolder(tmp_path / "whole").metrics) if "loss" in row
    ]
    assert [(row["step"], row["loss"]) for row in latest_rows(rows)] == expected
    assert {row["attempt"] for row in rows} == set(range(1, 22))


def test_a_torn_checkpoint_is_passed_over(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4, checkpoint_interval_s=1.0))
    run_steps(config, count=2)
    run = RunFolder(tmp_path / "run")
    good = run.newest_checkpoint()
    assert good is not None
    torn = run.checkpoints / "step-00000003"
    torn.mkdir()
    for file in good.iterdir():
        (torn / file.name).write_bytes(file.read_bytes())
    (torn / "model.safetensors").write_bytes(b"half")
    assert run.newest_checkpoint() == good


def test_torn_checkpoints_are_not_kept_in_the_place_of_whole_ones(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4, keep_checkpoints=1))
    run_steps(config, count=2)
    run = RunFolder(tmp_path / "run")
    shutil.copytree(run.checkpoint(2), run.checkpoint(3))
    shutil.copytree(run.checkpoint(2), run.checkpoint(9))
    for step in (3, 9):
        (run.checkpoint(step) / "model.safetensors").write_bytes(b"half")
    train(config, resume=True)
    assert run.checkpoint_folders() == [run.checkpoint(4)]


def test_a_run_that_ended_before_its_first_checkpoint_begins_again(
    run_options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=2))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda _: torch.empty(2**50))
        with pytest.raises(TrainingError, match="no memory"):
            train(config)
    assert train(config, resume=True) == RunFolder(tmp_path / "run").model


def test_data_that_was_prepared_anew_is_refused(run_options: Options, text_data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(text_data, tmp_path / "data"))
    config = TrainConfig.from_dict(run_options(max_steps=4, data=str(data)))
    run_steps(config, count=2)
    manifest = data / "dataset.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version":  1'))
    with pytest.raises(TrainingError, match="was prepared anew since this run began"):
        train(config, resume=True)


def test_a_stopped_run_does_not_validate_where_the_uninterrupted_one_would_not(
    run_options: Options, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4, validation_interval=3))
    stopped = [False]

    def stop(row: dict[str, object]) -> None:
        if row.get("step") == 2 and "loss" in row and not stopped[0]:
            stopped[0] = True
            signal.raise_signal(signal.SIGTERM)

    train(config, report=stop)
    train(config, resume=True)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "validation_loss" in row] == [3, 4]


def test_resuming_a_finished_run_leaves_its_checkpoints_as_they_are(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=2))
    train(config)
    checkpoint = RunFolder(tmp_path / "run").newest_checkpoint()
    assert checkpoint is not None
    before = {file.name: file.stat().st_mtime_ns for file in checkpoint.iterdir()}
    train(config, resume=True)
    assert {file.name: file.stat().st_mtime_ns for file in checkpoint.iterdir()} == before


def test_a_run_keeps_its_newest_checkpoints_only(run_options: Options, tmp_path: Path) -> None:
    for count in (1, 2, 3):
        train(TrainConfig.from_dict(run_options(max_steps=count)), resume=count > 1)
    names = [folder.name for folder in RunFolder(tmp_path / "run").checkpoint_folders()]
    assert names == ["step-00000003", "step-00000002"]


def test_resume_without_a_checkpoint_is_refused(run_options: Options) -> None:
    with pytest.raises(TrainingError, match="no whole checkpoint"):
        train(TrainConfig.from_dict(run_options()), resume=True)


def test_resume_with_settings_of_another_run_names_them(run_options: Options) -> None:
    train(TrainConfig.from_dict(run_options(max_steps=1)))
    other = TrainConfig.from_dict(run_options(max_steps=2, optimizer="muon", seed=5))
    with pytest.raises(TrainingError, match="was begun with optimizer adamw, not muon; seed 1, not 5"):
        train(other, resume=True)


def test_checkpoints_without_a_config_are_not_trained_over(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=1))
    train(config)
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(TrainingError, match="already holds a run"):
        train(config)


def test_a_full_disk_leaves_the_earlier_checkpoint_and_the_run_goes_on_later(
    run_options: Options, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4))
    run_steps(config, count=2)
    with (
        files_limited_to(100_000),
        pytest.raises(TrainingError, match=r"checkpoint of step 4 could not be written: .*MB needed, .*MB free"),
    ):
        train(config, resume=True)
    run = RunFolder(tmp_path / "run")
    assert [folder.name for folder in run.checkpoints.iterdir()] == ["step-00000002"]
    resumed = train(config, resume=True)
    whole = train(TrainConfig.from_dict({**config.to_dict(), "output": str(tmp_path / "whole")}))
    assert_same_tensors(weights(whole), weights(resumed))


def test_a_disk_without_room_for_metrics_says_so_and_the_cut_row_is_passed_over(
    run_options: Options, tmp_path: Path
) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4))
    run_steps(config, count=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    with (
        closing(MetricsWriter(metrics, attempt=2)) as writer,
        files_limited_to(metrics.stat().st_size + 10),
        pytest.raises(TrainingError, match=r"row of step 3 could not be written to metrics\.jsonl"),
    ):
        writer.write(3, loss=1.0)
    train(config, resume=True)
    assert [row["step"] for row in read_metrics(metrics) if "loss" in row] == [1, 2, 3, 4]


def test_a_cut_metrics_row_is_left_out_and_the_next_one_stands_alone(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4))
    run_steps(config, count=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"attempt": 1, "st')
    train(config, resume=True)
    assert [row["step"] for row in read_metrics(metrics) if "loss" in row] == [1, 2, 3, 4]


def test_a_folder_that_another_process_trains_in_is_refused(run_options: Options, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TrainConfig.from_dict(run_options(max_steps=100_000)).to_dict()))
    process = subprocess.Popen([sys.executable, "-m", "core.trainer", str(path)])
    run = RunFolder(tmp_path / "run")
    try:
        while not run.metrics.exists():
            assert process.poll() is None
            time.sleep(0.05)
        with pytest.raises(TrainingError, match="is being trained by another process"):
            train(TrainConfig.from_dict(run_options()), resume=True)
    finally:
        process.kill()
        process.wait()
