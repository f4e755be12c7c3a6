"""A run that reads several data sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.config.train_config import TrainConfig
from core.data.mmap_file import MmapFileHandler
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, DataError
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.trainer import Trainer
from tests.core.trainer.test_resume import run_steps

Options = Callable[..., dict[str, object]]
RARE = 7


@pytest.fixture
def other_data(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """Twenty documents of one token over and over."""
    folder = tmp_path / "other"
    writer = MmapFileHandler.writer(
        folder, kind="pt", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    for _ in range(20):
        writer.add("train", np.full(99, RARE))
    writer.close(sources=[], report={})
    return folder


def test_a_run_reads_each_data_set_by_its_share(run_options: Options, other_data: Path) -> None:
    options = run_options(mixture={str(other_data): 0.25}, global_batch_size=8)
    trainer = Trainer(build_context(TrainConfig.from_dict(options), resume=False), [])
    for step in range(4):
        batches = trainer._micro_batches(step)
        rare = sum(int((batch.labels == RARE).sum(dim=1).gt(20).sum()) for batch in batches)
        assert rare == 2


def test_a_resumed_run_of_a_mixture_is_bit_equal_to_the_uninterrupted_one(
    run_options: Options, other_data: Path, tmp_path: Path
) -> None:
    options = run_options(mixture={str(other_data): 0.3})
    whole = train(TrainConfig.from_dict({**options, "output": str(tmp_path / "whole")}))
    config = TrainConfig.from_dict(options)
    run_steps(config, 3)
    resumed = train(config, resume=True)
    left, right = (load_file(folder / "model.safetensors") for folder in (whole, resumed))
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_data_of_another_tokenizer_does_not_mix(run_options: Options, tmp_path: Path) -> None:
    writer = MmapFileHandler.writer(tmp_path / "alien", kind="pt", vocab_size=90, fingerprint="0" * 64)
    writer.add("train", [1, 2, 3])
    writer.close(sources=[], report={})
    with pytest.raises(DataError, match=r"alien holds pt data of the tokenizer 000000000000"):
        build_context(TrainConfig.from_dict(run_options(mixture={str(tmp_path / "alien"): 0.5})), resume=False)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"a": 0.5, "b": 0.5}, "add up to 1 and leave nothing for data"),
        ({"a": 0, "b": "x"}, "share of a is 0, it must be.*share of b is 'x'"),
    ],
)
def test_shares_that_make_no_mixture_are_refused(
    run_options: Options, mixture: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(run_options(mixture=mixture))


def test_stages_that_do_not_mix_say_so() -> None:
    values = {"data": "a", "output": "b", "base": "c", "stage": "dpo"}
    assert TrainConfig.from_dict(values).mixture == {}
    with pytest.raises(ConfigError, match="mixture belongs to stage pt and sft, not to dpo"):
        TrainConfig.from_dict({**values, "mixture": {"d": 0.5}})
