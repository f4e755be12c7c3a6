"""Learning from rewards: the reward rises, the step does not depend on the split, a resumed run is the same run."""

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError, TrainingError
from core.model.checkpoint import save_model
from core.model.heads import RewardModel
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import validate
from core.trainer.run_folder import read_metrics
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]


def share_of_vowels(_: Sequence[str], completions: Sequence[str]) -> list[float]:
    return [sum(char in "aeiou" for char in text) / max(len(text), 1) for text in completions]


@pytest.fixture
def base(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A policy with fresh weights."""
    model = Transformer(dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size))
    model.init_weights(seed=1)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)
    return tmp_path / "base"


@pytest.fixture
def rl_options(run_options: Options, chat_data: Path, base: Path) -> Options:
    def options(**changes: object) -> dict[str, object]:
        common = {"stage": "grpo", "data": str(chat_data), "base": str(base), "max_seq_len": 96, "max_new_tokens": 8}
        sizes = {"num_generations": 4, "global_batch_size": 4, "micro_batch_size": 4, "max_steps": 3}
        return run_options(**{**common, **sizes, **changes})

    return options


def run(options: dict[str, object], tmp_path: Path) -> list[dict[str, float]]:
    """The rows of the steps of a finished run."""
    train(TrainConfig.from_dict(options), reward=share_of_vowels)
    return [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "reward" in row]


@pytest.mark.parametrize(
    ("stage", "changes"),
    [
        ("grpo", {}),
        ("grpo", {"num_minibatches": 2, "rollout_epochs": 2, "policy_loss": "gspo"}),
        ("ppo", {"rollout_epochs": 2}),
    ],
)
def test_the_reward_rises(rl_options: Options, tmp_path: Path, stage: str, changes: dict[str, object]) -> None:
    options = rl_options(stage=stage, max_steps=30, num_generations=8, learning_rate=0.01, kl_coef=0.01, **changes)
    rows = run(options, tmp_path)
    rewards = [row["reward"] for row in rows]
    print(rewards, rows[-1])
    assert sum(rewards[-5:]) > 2 * sum(rewards[:5])
    assert all(math.isfinite(row[name]) for row in rows for name in ("kl", "entropy", "ratio", "loss"))
    assert rows[-1]["kl"] > 0.1


def test_a_resumed_run_is_the_same_run(rl_options: Options, tmp_path: Path) -> None:
    pass
