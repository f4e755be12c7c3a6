"""The reference's log-probabilities: computed once, equal to those on the fly, kept for the same data and weights."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import TrainingError
from core.model.checkpoint import load_model, save_model
from core.parallel.setup import Ranks
from core.trainer import reference, train
from core.trainer.build_context import build_context
from core.trainer.preference import answer_logprobs
from core.trainer.reference import FOLDER, ReferenceCache
from core.trainer.run_folder import read_metrics
from tests.core.conftest import pairs, write_pairs

Options = Callable[..., dict[str, Any]]


@pytest.fixture
def options(run_options: Options, tokenizer: Tokenizer, tmp_path: Path) -> Options:
    """Options of a run over pairs in a folder of its own, with a cached reference."""
    train(TrainConfig.from_dict(run_options(max_steps=1, output=str(tmp_path / "base"))))
    write_pairs(tmp_path / "data", tokenizer, pairs(24, seed=5))
    fixed = {"stage": "dpo", "data": str(tmp_path / "data"), "base": str(tmp_path / "base"), "max_seq_len": 96}

    def changed(**changes: Any) -> dict[str, Any]:
        return run_options(**{**fixed, "cache_reference": True, **changes})

    return changed


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Splits that a reference was run over."""
    splits: list[str] = []
    compute = ReferenceCache._compute

    def counted(self: ReferenceCache, logprobs: reference.Logprobs) -> dict[str, torch.Tensor]:
        splits.append(self.dataset.split)
        return compute(self, logprobs)

    monkeypatch.setattr(ReferenceCache, "_compute", counted)
    return splits


def files(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*.safetensors"))


INT8_LORA = {"adapter": "lora", "base_quantization": "int8"}


@pytest.mark.parametrize("changes", [{"loss": "sigmoid"}, {"loss": "kto"}, INT8_LORA])
def test_a_run_with_cached_numbers_is_the_run_without(
    options: Options, changes: dict[str, Any], tmp_path: Path
) -> None:
    losses = []
    for cached in (True, False):
        output = tmp_path / f"run-{cached}"
        fixed = {"output": str(output), "cache_reference": cached, "micro_batch_size": 4, "learning_rate": 0.003}
        train(TrainConfig.from_dict(options(**fixed, **changes)))
        rows = read_metrics(output / "metrics.jsonl")
        losses.append([row.get("loss", row.get("validation_loss")) for row in rows])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0][-2] < losses[0][0]


def test_the_numbers_are_kept_beside_the_data_for_other_runs(
    options: Options, computed: list[str], tmp_path: Path
) -> None:
    context = build_context(TrainConfig.from_dict(options()), resume=False)
    assert computed == ["train", "validation"]
    assert context.reference is None, "the reference is let go"
    assert len(files(tmp_path / "data")) == 2
    build_context(TrainConfig.from_dict(options(output=str(tmp_path / "other"), learning_rate=0.5)), resume=False)
    assert computed == ["train", "validation"]


class Apart(Ranks):
    """A rank whose sums are added up by the test."""

    def sum_(self, values: torch.Tensor) -> torch.Tensor:
        return values


def test_ranks_share_the_pass_over_the_data(options: Options) -> None:
    context = build_context(TrainConfig.from_dict(options(cache_reference=False, loss="kto")), resume=False)
    parts = []
    for ranks in (Ranks.alone(), Apart(0, 2), Apart(1, 2)):
        context.ranks = ranks
        parts.append(ReferenceCache(context, context.train_rows)._compute(answer_logprobs))
    for name, whole in parts[0].items():
        assert (parts[1][name] != 0).any()
        torch.testing.assert_close(parts[1][name] + parts[2][name], whole)


def test_other_weights_data_or_lengths_are_other_numbers(
    options: Options, computed: list[str], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = load_model(tmp_path / "base" / "model")
    with torch.no_grad():
        model.model.norm.weight[5] += 1e-3
    save_model(model, tmp_path / "base2", tokenizer=tokenizer)
    write_pairs(tmp_path / "data2", tokenizer, pairs(24, seed=6))
    changes = ({}, {"base": str(tmp_path / "base2")}, {"data": str(tmp_path / "data2")}, {"max_seq_len": 64}, INT8_LORA)
    for change in changes:
        build_context(TrainConfig.from_dict(options(**change)), resume=False)
    assert computed == ["train", "validation"] * len(changes)


def test_a_resumed_run_reads_the_numbers_of_its_base(options: Options, computed: list[str], tmp_path: Path) -> None:
    train(TrainConfig.from_dict(options(max_steps=3, learning_rate=0.003)))
    context = build_context(TrainConfig.from_dict(options(max_steps=3)), resume=True)
    assert computed == ["train", "validation"]
    assert context.step == 3
    answers = context.train_rows.batch([(0, 0)]).reference
    assert answers is not None
    with torch.no_grad():
        policy = answer_logprobs(context.policy, context.train_rows.batch([(0, 0)]))
    assert not torch.allclose(policy, answers, rtol=1e-5), "the policy has moved on"


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A file where the data's folder for the numbers would be: nobody can write there, root neither."""
    yield tmp_path / "data" / FOLDER
    (tmp_path / "data" / FOLDER).unlink()


def test_data_that_cannot_be_written_leaves_the_numbers_in_the_run(
    options: Options, computed: list[str], locked: Path, tmp_path: Path
) -> None:
    locked.write_text("")
    build_context(TrainConfig.from_dict(options()), resume=False)
    assert len(files(tmp_path / "run")) == 2
    build_context(TrainConfig.from_dict(options()), resume=False)
    assert computed == ["train", "validation"]


def test_numbers_that_can_be_kept_nowhere_end_the_run_with_a_remedy(
    options: Options, locked: Path, tmp_path: Path
) -> None:
    locked.write_text("")
    (tmp_path / "run").write_text("")
    with pytest.raises(
        TrainingError, match=r"could not be written beside the data or in the run: .* without cache_reference"
    ):
        build_context(TrainConfig.from_dict(options()), resume=False)


def test_a_torn_file_is_made_again(
    options: Options, computed: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_context(TrainConfig.from_dict(options()), resume=False)
    torn = files(tmp_path / "data")[0]
    whole = torn.read_bytes()
    os.truncate(torn, 20)
    build_context(TrainConfig.from_dict(options()), resume=False)
    assert computed == ["train", "validation", "train"]
    assert torn.read_bytes() == whole
    assert "is not whole and made again" in caplog.text
