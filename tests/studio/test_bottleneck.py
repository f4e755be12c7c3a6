"""The cause that is named is the one that was put in."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.config.train_config import TrainConfig
from core.data.dataset import PackedDataset
from core.trainer import train
from core.trainer.callbacks import ValidationCallback
from core.trainer.run_folder import read_metrics
from studio.bottleneck import LimitKind, what_limits

Options = Callable[..., dict[str, object]]


def row(**values: float) -> dict[str, Any]:
    quiet = {"data_wait": 0.01, "beside_steps": 0.02, "optimizer": 0.05, "efficiency": 0.2, "memory_bytes": 1e9}
    return {"attempt": 1, "step": 1, "tokens_per_s": 100.0, **quiet, **values}


@pytest.mark.parametrize(
    ("values", "kind", "share"),
    [
        ({"data_wait": 0.3}, LimitKind.DATA, 0.3 * 0.98),
        ({"beside_steps": 0.5}, LimitKind.BESIDE, 0.5),
        ({"optimizer": 0.6}, LimitKind.OPTIMIZER, 0.6 * 0.98),
        ({"efficiency": 0.45}, LimitKind.COMPUTE, 0.45),
        ({"memory_bytes": 7.9e9}, LimitKind.MEMORY, 7.9 / 8),
        ({}, LimitKind.OTHER, 0.2),
    ],
)
def test_the_share_that_stands_out_is_named(values: dict[str, float], kind: LimitKind, share: float) -> None:
    found = what_limits([row(**values)], memory_bytes=8 * 10**9)
    assert found is not None
    assert (found.kind, found.share) == (kind, pytest.approx(share))


def test_only_the_last_rows_of_steps_count() -> None:
    rows = [row(data_wait=0.9)] * 30 + [row()] * 20 + [{"attempt": 1, "step": 9, "validation_loss": 1.0}]
    found = what_limits(rows)
    assert found is not None
    assert found.kind is LimitKind.OTHER
    assert what_limits([{"attempt": 1, "step": 1, "validation_loss": 2.0}]) is None


def stalled(run_options: Options, folder: Path, **changes: object) -> LimitKind:
    train(TrainConfig.from_dict(run_options(max_steps=5, output=str(folder), **changes)))
    found = what_limits(read_metrics(folder / "metrics.jsonl")[2:])
    assert found is not None
    return found.kind


@pytest.mark.slow
def test_a_stall_in_the_data_and_one_beside_the_steps_are_told_apart_in_a_run(
    run_options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, after_step = PackedDataset.batch, ValidationCallback.after_step

    def slow_batch(self: PackedDataset, places: Any) -> Any:
        time.sleep(0.3)
        return batch(self, places)

    def slow_after_step(self: ValidationCallback, context: Any, result: Any) -> None:
        time.sleep(0.5)
        after_step(self, context, result)

    with monkeypatch.context() as patch:
        patch.setattr(PackedDataset, "batch", slow_batch)
        assert stalled(run_options, tmp_path / "data") is LimitKind.DATA
    with monkeypatch.context() as patch:
        patch.setattr(ValidationCallback, "after_step", slow_after_step)
        assert stalled(run_options, tmp_path / "beside") is LimitKind.BESIDE
