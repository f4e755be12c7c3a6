"""The loop: it learns, its step does not depend on the split, and what cannot be trained is named."""

import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import core
from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.dataset import IGNORED, Batch, PackedDataset
from core.data.pairs import PairBatch, PairDataset
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, DataError, TrainingError
from core.model.checkpoint import load_model, save_model
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import validate
from core.trainer.optimizer import optimizer_tensors
from core.trainer.run_folder import read_metrics
from core.trainer.strategy import Loss, PTStrategy
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer
from tests.core.conftest import sentences

Options = Callable[..., dict[str, object]]


@pytest.fixture
def base(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A model folder to start from."""
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size)
    model = Transformer(config)
    model.init_weights(seed=1)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)
    return tmp_path / "base"


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


@pytest.mark.parametrize("stage", ["pt", "sft"])
def test_gradient_does_not_depend_on_the_micro_batch_size(
    run_options: Options, chat_data: Path, base: Path, stage: str
) -> None:
    changes = {"pt": {}, "sft": {"base": str(base), "data": str(chat_data), "max_seq_len": 64}}[stage]
    gradients, counts = [], []
    for size in (1, 4):
        options = run_options(stage=stage, micro_batch_size=size, global_batch_size=16, **changes)
        context = build_context(TrainConfig.from_dict(options), resume=False)
        context.model.double()
        trainer, tally = Trainer(context, []), Tally()
        batches = trainer._micro_batches(0)
        counts.append([batch.num_loss_tokens for batch in batches])
        for batch in batches:
            trainer._accumulate(batch, tally)
        trainer._scale_and_clip(1 / sum(counts[-1]))
        gradients.append({name: copy.copy(p.grad) for name, p in context.model.named_parameters()})
    assert len(set(counts[0])) > 1, "rows of equal length would prove nothing"
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-9, atol=1e-14)


def test_a_step_weighs_tokens_and_not_micro_batches(run_options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tokens that lose 2 and 4 and eight that lose 1: 14 / 10, where a mean of means gives 2."""
    losses = {2: 2.0 + 4.0, 8: 8 * 1.0}

    class GivenLosses(PTStrategy):
        def loss(self, context: TrainContext, batch: Batch) -> Loss:
            zero = sum((parameter.sum() * 0.0 for parameter in context.model.parameters()), torch.zeros(()))
            return Loss(zero + losses[batch.num_loss_tokens], batch.num_loss_tokens)

    def batch_of(count: int) -> Batch:
        labels = torch.full((1, 16), IGNORED)
        labels[0, :count] = 5
        return Batch(labels, labels, labels, labels, num_tokens=16, num_loss_tokens=count)

    context = build_context(TrainConfig.from_dict(run_options()), resume=False)
    context.strategy = GivenLosses(context.config)
    monkeypatch.setattr(Trainer, "_micro_batches", lambda self, step: [batch_of(2), batch_of(8)])
    result = Trainer(context, []).step()
    assert result.loss == pytest.approx(1.4)
    assert result.metrics["loss"].weight == 10


def test_a_second_run_in_the_same_folder_is_refused(run_options: Options) -> None:
    config = TrainConfig.from_dict(run_options(max_steps=1))
    train(config)
    with pytest.raises(TrainingError, match="already holds a run"):
        train(config)


def test_replies_that_all_lie_beyond_a_row_are_named(run_options: Options, chat_data: Path, tmp_path: Path) -> None:
    train(TrainConfig.from_dict(run_options()))
    options = run_options(stage="sft", base=str(tmp_path / "run"), data=str(chat_data), output=str(tmp_path / "sft"))
    with pytest.raises(TrainingError, match=r"no token to learn from: 60 conversations are longer than 8 tokens"):
        train(TrainConfig.from_dict({**options, "max_seq_len": 8}))


def test_data_of_the_wrong_kind_names_both(run_options: Options, chat_data: Path) -> None:
    with pytest.raises(DataError, match="holds sft data, stage pt needs pt"):
        train(TrainConfig.from_dict(run_options(data=str(chat_data))))


def test_rows_longer_than_the_models_context_name_both_numbers(run_options: Options) -> None:
    with pytest.raises(ConfigError, match="max_seq_len 300 exceeds the model's context of 256"):
        train(TrainConfig.from_dict(run_options(max_seq_len=300)))


def test_a_loss_that_is_not_finite_ends_with_a_remedy(run_options: Options) -> None:
    config = TrainConfig.from_dict(run_options(learning_rate=1e30, max_steps=10))
    with pytest.raises(TrainingError, match=r"The loss of step \d+ is .*(nan|inf).*Lower learning_rate \(now 1e\+30\)"):
        train(config)


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_reaches_the_weights(
    run_options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = build_context(TrainConfig.from_dict(run_options()), resume=False)
    before = {name: p.detach().clone() for name, p in context.model.named_parameters()}
    norm = context.model.model.norm.weight
    norm.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingError, match="its gradient's norm nan"):
        Trainer(context, []).step()
    assert [name for name, p in context.model.named_parameters() if not torch.equal(p, before[name])] == []


def test_a_base_with_weights_that_are_not_numbers_is_named(run_options: Options, base: Path) -> None:
    path = base / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][3] = math.nan
    save_file(tensors, path)
    with pytest.raises(TrainingError, match=r"1 weights of .* are not finite. Start from another base"):
        train(TrainConfig.from_dict(run_options(base=str(base))))


def test_all_weights_of_a_quantised_base_are_trained_as_floats_and_the_result_says_so(
    run_options: Options, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    core.quantize(base, tmp_path / "int8")
    model = train(TrainConfig.from_dict(run_options(base=str(tmp_path / "int8"), max_steps=2)))
    assert "begins at the rounded weights" in caplog.text
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    assert config["astrai"]["dequantised_from"] == "int8"
    assert "quantization_config" not in config
    before, after = (load_model(path).state_dict() for path in (base, model))
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved == set(after)


def test_a_base_with_another_tokenizer_than_the_datas_is_refused(run_options: Options, base: Path) -> None:
    Tokenizer.train(sentences(400, seed=9), vocab_size=420).save(base)
    with pytest.raises(DataError, match="prepared with another tokenizer"):
        train(TrainConfig.from_dict(run_options(base=str(base))))


def test_a_shape_beyond_the_memory_is_refused_with_both_sizes(run_options: Options) -> None:
    shape = {"hidden_size": 2**15, "intermediate_size": 2**17, "num_hidden_layers": 1000}
    with pytest.raises(ConfigError, match=r"parameters takes [\d,.]+ GiB at least, [\d.]+ GiB are free"):
        train(TrainConfig.from_dict(run_options(model=shape)))


def test_metrics_hold_rate_time_to_go_and_counts(run_options: Options, tmp_path: Path) -> None:
    shown: list[dict[str, object]] = []
    train(TrainConfig.from_dict(run_options(max_steps=4, log_interval=2)), report=shown.append)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 4]
    assert all(row["tokens_per_s"] > 0 for row in rows)
    assert rows[0]["eta_s"] > 0
    assert rows[-1]["eta_s"] == 0
    assert rows[-1]["tokens"] > rows[0]["tokens"]
    assert [row["num_steps"] for row in shown] == [4] * 5
    assert (shown[0]["device"], shown[0]["first_step"]) == ("cpu", 0)


def test_validation_rows_are_spread_over_the_whole_split(run_options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig.from_dict(run_options(max_seq_len=16, validation_tokens=64))
    context = build_context(config, resume=False)
    rows = context.validation_rows
    assert rows is not None
    seen: list[tuple[int, int]] = []
    batch = rows.batch
    monkeypatch.setattr(PackedDataset, "batch", lambda self, places: seen.extend(places) or batch(places))
    validate(context)
    count = rows.num_rows(0)
    assert seen == [(0, index * count // 4) for index in range(4)]
    assert seen[-1][1] >= count // 2


def test_validation_tokens_count_what_rows_of_pairs_hold(
    run_options: Options, pair_data: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such rows are filled to twice max_seq_len."""
    options = run_options(stage="rm", data=str(pair_data), base=str(base), max_seq_len=64, micro_batch_size=1)
    counts: list[int] = []
    batch = PairDataset.batch

    def counted(self: PairDataset, places: list[tuple[int, int]]) -> PairBatch:
        found = batch(self, places)
        counts.append(found.num_tokens)
        return found

    monkeypatch.setattr(PairDataset, "batch", counted)
    rows = build_context(TrainConfig.from_dict(options), resume=False).validation_rows
    assert isinstance(rows, PairDataset)
    total = sum(rows.batch([(0, row)]).num_tokens for row in range(rows.num_rows(0)))
    assert total / rows.num_rows(0) > 64
    for wanted, expected in ((total, rows.num_rows(0)), (total - 1, rows.num_rows(0) - 1), (1, 1)):
        counts.clear()
        validate(build_context(TrainConfig.from_dict({**options, "validation_tokens": wanted}), resume=False))
        assert len(counts) == expected


def test_bits_per_byte_of_the_validation_by_hand(run_options: Options, text_data: Path) -> None:
    context = build_context(TrainConfig.from_dict(run_options()), resume=False)
    values = validate(context)
    split = json.loads((text_data / "dataset.json").read_text())["splits"]["validation"]
    expected = values["validation_loss"] / math.log(2) * split["num_tokens"] / split["num_bytes"]
    assert values["validation_bits_per_byte"] == pytest.approx(expected)


def test_bf16_is_in_the_products_only_and_weights_and_averages_stay_fp32(run_options: Options) -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        context = build_context(TrainConfig.from_dict(run_options(precision=precision)), resume=False)
        losses[precision] = Trainer(context, []).step().loss
        tensors = optimizer_tensors(context.trained, context.optimizers)
        assert {tensor.dtype for tensor in [*context.model.parameters(), *tensors.values()]} == {torch.float32}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.01)
    assert losses["bf16"] != losses["fp32"]
