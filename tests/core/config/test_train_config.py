"""A run's config: what does not go together is told, all of it at once."""

import pytest

from core.config.train_config import TrainConfig
from core.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"base": "runs/pt", "model": {"num_hidden_layers": 2}}, "base runs/pt has its own shape: leave out model"),
        ({"validation_interval": 0, "early_stopping": 2}, "early_stopping 2 needs validations on the way"),
        ({"validation_interval": 0, "keep_best": True}, "keep_best needs validations on the way"),
        ({"sample_prompts": ["Hello"]}, "sample_prompts are answered every sample_interval steps, and that is 0"),
        ({"max_steps": 5, "epochs": 2.0}, "max_steps 5 and epochs 2 both say how long"),
        ({"beta": 0.5}, "beta belongs to stage dpo, not to pt"),
    ],
)
def test_an_option_without_effect_is_a_problem(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        TrainConfig.from_dict({"data": "d", "output": "o", **changes})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"data": "d", "output": "o", "stage": "dpo", "beta": -1.0, "epochs": 0, "lr": 1})
    assert [part in caught.value.message for part in ('"lr"', "beta is -1.0")] == [True, True]
