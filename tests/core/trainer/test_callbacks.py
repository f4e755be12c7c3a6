"""What happens beside the steps: the best checkpoint, an early end, samples, TensorBoard files, efficiency."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

import core.inference.choose_runner
from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.metric_rows import latest_rows
from core.data.tokenizer import Tokenizer
from core.errors import TrainingError
from core.inference.runner import num_blocks_for
from core.inference.torch_runner import TorchRunner
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.efficiency import measured_flops, peak_flops, train_flops_per_token
from core.trainer.run_folder import RunFolder, read_metrics
from core.trainer.samples import sample
from core.trainer.stop_signal import StopSignal
from core.trainer.strategy import PTStrategy
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]


def scored(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> None:
    """Let the validations have these losses, one after the other."""
    left = iter(scores)
    monkeypatch.setattr(PTStrategy, "validate", lambda *_: {"loss": next(left)})


def test_a_run_ends_early_after_validations_that_are_no_better(
    run_options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored(monkeypatch, [3.0, 2.0, 2.5, 2.0, 1.0])
    train(TrainConfig.from_dict(run_options(max_steps=20, validation_interval=1, early_stopping=2)))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "validation_loss" in row] == [1, 2, 3, 4]
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_the_best_checkpoint_outlives_newer_ones_and_becomes_the_result(
    run_options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored(monkeypatch, [3.0, 2.0, 2.5, 2.6, 2.7, 2.8])
    options = run_options(validation_interval=1, keep_best=True, keep_checkpoints=1)
    result = train(TrainConfig.from_dict(options))
    run = RunFolder(tmp_path / "run")
    assert [folder.name for folder in run.checkpoint_folders()] == ["step-00000006", "step-00000002"]
    best = load_file(run.checkpoint(2) / "model.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in load_file(result / "model.safetensors").items())


def test_a_resumed_run_remembers_its_best_validation(
    run_options: Options, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scored(monkeypatch, [2.0, 2.5, 2.6, 2.7])
    options = run_options(validation_interval=1, early_stopping=3, max_steps=2)
    train(TrainConfig.from_dict(options))
    train(TrainConfig.from_dict({**options, "max_steps": 10}), resume=True)
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows if "validation_loss" in row] == [1, 2, 3, 4]


def test_samples_are_what_the_weights_of_the_step_write(run_options: Options, tmp_path: Path) -> None:
    options = run_options(max_steps=5, sample_interval=2, sample_prompts=["The quick", "今天"])
    train(TrainConfig.from_dict(options))
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert [(row["step"], row["prompt"]) for row in rows] == [
        (step, prompt) for step in (2, 4, 5) for prompt in ("The quick", "今天")
    ]
    whole = train(TrainConfig.from_dict(run_options(max_steps=5, output=str(tmp_path / "without"))))
    for name, tensor in load_file(whole / "model.safetensors").items():
        assert torch.equal(tensor, load_file(tmp_path / "run" / "model" / "model.safetensors")[name]), name


def test_tensorboard_files_hold_the_losses_of_the_metrics(run_options: Options, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options(max_steps=3, tensorboard=True)))
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    events = {
        (value.tag, event.step): value.simple_value for event in read_events(file) for value in event.summary.value
    }
    for row in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        if "loss" in row:
            assert events["loss", row["step"]] == pytest.approx(row["loss"])
            assert events["grad_norm", row["step"]] == pytest.approx(row["grad_norm"])


def read_events(file: Path) -> list[Event]:
    """The records of an event file: a length, its checksum, the bytes and theirs."""
    content, events, place = file.read_bytes(), [], 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        events.append(Event.FromString(content[place + 12 : place + 12 + size]))
        place += 16 + size
    return events


def test_what_a_later_attempt_did_again_replaces_what_was_before() -> None:
    rows = [
        {"attempt": attempt, "step": step}
        for attempt, steps in ((1, (1, 2, 3, 4)), (2, (3, 4, 5, 6)), (3, (5,)))
        for step in steps
    ]
    kept = [(row["attempt"], row["step"]) for row in latest_rows(rows)]
    assert kept == [(1, 1), (1, 2), (2, 3), (2, 4), (3, 5)]


def test_operations_of_a_token_by_hand() -> None:
    config = dataclasses.replace(PRESETS["1b"], tie_word_embeddings=True)
    attention = 12 * 24 * 24 * 64 * 2048
    assert train_flops_per_token(config, 2048) == 6 * 1_050_207_744 + attention
    assert train_flops_per_token(config, 2048, trains_base=False) == 4 * 1_050_207_744 + attention
    untied = dataclasses.replace(config, tie_word_embeddings=False)
    assert train_flops_per_token(untied, 2048) == train_flops_per_token(config, 2048)


def test_the_peak_of_a_cpu_is_measured() -> None:
    cpu = torch.device("cpu")
    peak = peak_flops(cpu, torch.float32)
    assert 1e8 < peak < 1e14
    assert peak_flops(cpu, torch.float32) == peak, "it is measured once"
    assert measured_flops(cpu, torch.float32, 64) > 0


def test_metrics_hold_efficiency_memory_and_the_wait_for_data(run_options: Options, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options(max_steps=2)))
    row = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert 0 < row["efficiency"] < 1
    assert 1e7 < row["memory_bytes"] < 1e11
    assert 0 <= row["data_wait"] < 1
    assert 0 < row["optimizer"] < 1
    assert 0 <= row["beside_steps"] < 1


def test_memory_that_runs_out_is_told_with_a_remedy(run_options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    context = build_context(TrainConfig.from_dict(run_options()), resume=False)
    size = 2**50

    def greedy(*_: object) -> torch.Tensor:
        return torch.empty(size)

    monkeypatch.setattr(PTStrategy, "loss", greedy)
    with pytest.raises(TrainingError, match=r"found no memory for \d+ bytes on cpu\. Lower micro_batch_size \(now 2"):
        Trainer(context, []).run(StopSignal())
    assert math.isclose(context.step, 0)


def test_memory_that_runs_out_in_a_validation_is_told_too(
    run_options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PTStrategy, "validate", lambda *_: torch.empty(2**50))
    with pytest.raises(TrainingError, match=r"Step 2 found no memory for \d+ bytes on cpu"):
        train(TrainConfig.from_dict(run_options(validation_interval=2)))


@pytest.mark.parametrize("place", ["__init__", "forward"], ids=["the cache", "a step"])
def test_samples_that_find_no_memory_are_left_out_and_the_run_goes_on(
    run_options: Options,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    place: str,
) -> None:
    options = run_options(max_steps=4, sample_interval=2, sample_prompts=["The quick"])
    monkeypatch.setattr(TorchRunner, place, lambda *_: torch.empty(2**50))
    result = train(TrainConfig.from_dict(options))
    said = [record.getMessage() for record in caplog.records if record.name == "core.trainer.samples"]
    assert [sentence.split(" found no memory for ")[0] for sentence in said] == ["Step 2", "Step 4"]
    assert "lower micro_batch_size (now 2)" in said[0]
    assert not (tmp_path / "run" / "samples.jsonl").exists()
    whole = train(TrainConfig.from_dict(run_options(max_steps=4, output=str(tmp_path / "without"))))
    for name, tensor in load_file(whole / "model.safetensors").items():
        assert torch.equal(tensor, load_file(result / "model.safetensors")[name]), name


def test_samples_have_a_cache_for_prompt_and_answer_alone(
    run_options: Options, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class CountingRunner(TorchRunner):
        def __init__(self, model: Transformer, num_blocks: int) -> None:
            sizes.append(num_blocks)
            super().__init__(model, num_blocks)

    monkeypatch.setattr(core.inference.choose_runner, "TorchRunner", CountingRunner)
    context = build_context(TrainConfig.from_dict(run_options()), resume=False)
    sample(context, ["The quick", "the lazy dog sleeps " * 8])
    prompt = len(tokenizer.encode("the lazy dog sleeps " * 8)) + len(tokenizer.start_ids)
    assert sizes == [num_blocks_for(prompt + 64)]
    assert num_blocks_for(prompt + 64) < num_blocks_for(context.policy.config.max_position_embeddings)
