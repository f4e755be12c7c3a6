"""The tiny model of the engine's tests, whose weights are large enough for answers to differ, and a reward model."""

from pathlib import Path

import pytest

from core.data.tokenizer import Tokenizer
from core.evaluation import RewardScorer
from core.model.checkpoint import load_model, save_model
from core.model.heads import RewardModel
from core.model.transformer import Transformer
from tests.core.inference.conftest import folder, model

__all__ = ["folder", "model"]


@pytest.fixture(scope="module")
def network(folder: Path) -> Transformer:
    """The same weights, to be asked without an engine."""
    return load_model(folder)


@pytest.fixture(scope="module")
def reward_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    path = tmp_path_factory.mktemp("rm")
    save_model(RewardModel.from_backbone(load_model(folder), seed=4), path, tokenizer=tokenizer)
    return path


@pytest.fixture(scope="module")
def scorer(reward_folder: Path) -> RewardScorer:
    return RewardScorer.load(reward_folder)
