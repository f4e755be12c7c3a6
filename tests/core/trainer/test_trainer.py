"""The loop: it learns, its step does not depend on the split, and a resumed run is the same run."""

import copy
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.config.train_config import TrainConfig
from core.errors import ConfigError, DataError, TrainingError
from core.trainer import train
from core.trainer.callbacks import CheckpointCallback, MetricsCallback, StepResult, StopSignal
from core.trainer.metrics import MetricsWriter
from core.trainer.run_folder import RunFolder, read_metrics
from core.trainer.train_context import TrainContext, build_context
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_loss_falls_and_validation_is_reported(run_options: Options, optimizer: str, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options(max_steps=40, learning_rate=0.01, optimizer=optimizer)))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]
    validations = [row["validation_bits_per_byte"] for row in rows if "validation_loss" in row]
    assert len(validations) == 1
    assert 0 < validations[0] < 8


def test_fine_tuning_starts_from_a_run(run_options: Options, chat_data: Path, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options()))
    options = run_options(stage="sft", base=str(tmp_path / "run"), data=str(chat_data), output=str(tmp_path / "sft"))
    options["max_seq_len"] = 128
    folder = train(TrainConfig.from_dict(options))
    assert json.loads((folder / "config.json").read_text())["astrai"]["base"] == str(tmp_path / "run")


def test_gradient_does_not_depend_on_the_micro_batch_size(run_options: Options) -> None:
    gradients = []
    for size in (1, 4):
        context = build_context(TrainConfig.from_dict(run_options(micro_batch_size=size)), resume=False)
        context.model.double()
        trainer = Trainer(context, [])
        batches = trainer._micro_batches()
        weight = sum(batch.num_loss_tokens for batch in batches)
        for batch in batches:
            trainer._accumulate(batch, weight)
        gradients.append({name: copy.copy(p.grad) for name, p in context.model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_run_is_bit_equal_to_the_uninterrupted_one(
    run_options: Options, optimizer: str, tmp_path: Path
) -> None:
    whole = train(TrainConfig.from_dict(run_options(output=str(tmp_path / "whole"), optimizer=optimizer)))
    config = TrainConfig.from_dict(run_options(optimizer=optimizer))
    _run_steps(config, count=3)
    resumed = train(config, resume=True)
    assert_same_tensors(weights(whole), weights(resumed))
    states = [RunFolder(tmp_path / name).newest_checkpoint() for name in ("whole", "run")]
    tensors = [load_file(folder / "optimizer.safetensors") for folder in states if folder]
    assert_same_tensors(*tensors)


def _run_steps(config: TrainConfig, count: int) -> None:
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
        Trainer(context, [CheckpointCallback(), MetricsCallback(writer, None), StopAfter()]).run(stop)


def test_a_killed_process_resumes_from_its_newest_whole_checkpoint(run_options: Options, tmp_path: Path) -> None:
    options = run_options(max_steps=2000, checkpoint_interval_s=1.0)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TrainConfig.from_dict(options).to_dict()))
    process = subprocess.Popen([sys.executable, "-m", "core.trainer", str(path)], env={**os.environ})
    run = RunFolder(tmp_path / "run")
    while run.newest_checkpoint() is None:
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    checkpoint = run.newest_checkpoint()
    assert checkpoint is not None
    context = build_context(TrainConfig.from_dict(options), resume=True)
    assert context.step == int(checkpoint.name.removeprefix("step-"))
    assert context.attempt == 2


def test_a_torn_checkpoint_is_passed_over(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4, checkpoint_interval_s=1.0))
    _run_steps(config, count=2)
    run = RunFolder(tmp_path / "run")
    good = run.newest_checkpoint()
    assert good is not None
    torn = run.checkpoints / "step-00000003"
    torn.mkdir()
    for file in good.iterdir():
        (torn / file.name).write_bytes(file.read_bytes())
    (torn / "model.safetensors").write_bytes(b"half")
    assert run.newest_checkpoint() == good


def test_a_second_run_in_the_same_folder_is_refused(run_options: Options) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=1))
    train(config)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(config)


def test_replies_that_all_lie_beyond_a_row_are_named(run_options: Options, chat_data: Path, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options()))
    options = run_options(stage="sft", base=str(tmp_path / "run"), data=str(chat_data), output=str(tmp_path / "sft"))
    with pytest.raises(TrainingError, match=r"no token to learn from\. 60 conversations are longer than 8 tokens"):
        train(TrainConfig.from_dict({**options, "max_seq_len": 8}))


def test_resume_without_a_checkpoint_is_refused(run_options: Options) -> None:
    with pytest.raises(TrainingError, match="no whole checkpoint"):
        train(TrainConfig.from_dict(run_options()), resume=True)


def test_data_of_the_wrong_kind_names_both(run_options: Options, chat_data: Path) -> None:
    with pytest.raises(DataError, match="holds sft data, stage pt needs pt"):
        train(TrainConfig.from_dict(run_options(data=str(chat_data))))


def test_rows_longer_than_the_models_context_name_both_numbers(run_options: Options) -> None:
    with pytest.raises(ConfigError, match="max_seq_len 300 exceeds the model's context of 256"):
        train(TrainConfig.from_dict(run_options(max_seq_len=300)))


def test_a_loss_that_is_not_finite_ends_with_a_remedy(run_options: Options) -> None:
    config = TrainConfig.from_dict(run_options(learning_rate=1e30, max_steps=10))
    with pytest.raises(TrainingError, match=r"The loss of step \d+ is (nan|inf)"):
        train(config)


def test_a_cut_metrics_row_is_left_out_and_the_next_one_stands_alone(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=4))
    _run_steps(config, count=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    with metrics.open("a") as file:
        file.write('{"attempt": 1, "st')
    train(config, resume=True)
    assert [row["step"] for row in read_metrics(metrics) if "loss" in row] == [1, 2, 3, 4]
