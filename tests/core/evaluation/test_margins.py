"""The preference of an adapter on the model as it is served."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import core
from core.config.train_config import TrainConfig
from core.errors import DataError
from core.evaluation import preference_margin
from tests.core.conftest import pairs

HELD_OUT = pairs(6, seed=17)


@pytest.mark.slow
def test_an_adapter_prefers_the_better_answers_on_the_quantised_model_as_in_training(
    run_options: Callable[..., dict[str, object]], pair_data: Path, folder: Path
) -> None:
    options = run_options(
        stage="dpo", data=str(pair_data), base=str(folder), adapter="lora", base_quantization="int8",
        max_seq_len=96, max_steps=30, learning_rate=4e-3, validation_interval=0,
    )  # fmt: skip
    core.train(TrainConfig.from_dict(options))
    torch.set_num_threads(1)
    model = core.load(folder, quantization="int8")
    model.load_adapter("new", str(options["output"]))
    found = preference_margin(model, HELD_OUT, adapter="new")
    assert found.num_pairs == len(HELD_OUT)
    assert found.margin > 0.1
    assert found.accuracy >= 5 / 6
    assert found.interval[0] < found.accuracy
    with pytest.raises(DataError, match="None of 0 pairs"):
        preference_margin(model, [], adapter="new")
    model.close()
