"""Reward models: transformers loads them with equal scores, and nobody mistakes one for a chat model."""

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import core
from core.config.model_config import PRESETS
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import load_model, save_model
from core.model.folder import is_reward_model
from core.model.heads import RewardModel, load_reward_model
from core.model.transformer import Transformer

FAMILIES = {
    "llama": {},
    "qwen2": {"attention_bias": True},
    "qwen3": {"qk_norm": True},
    "mistral": {"sliding_window": 5},
}


def policy(family: str = "llama") -> Transformer:
    config = dataclasses.replace(
        PRESETS["tiny"], vocab_size=420, model_type=family, initializer_range=0.2, **FAMILIES[family]
    )
    model = Transformer(config)
    model.init_weights(seed=3)
    return model


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_model(RewardModel.from_backbone(policy(), seed=4), tmp_path / "rm", tokenizer=tokenizer)
    return tmp_path / "rm"


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_transformers_gives_the_same_scores(family: str, tmp_path: Path) -> None:
    ours = RewardModel.from_backbone(policy(family), seed=4)
    save_model(ours, tmp_path / "rm")
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm").eval()
    input_ids = torch.arange(24).view(2, 12) * 7 % 420
    assert theirs.config.num_labels == 1
    for row in input_ids:
        torch.testing.assert_close(ours(row[None])[0, -1], theirs(row[None]).logits[0, 0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_saved_reward_model_loads_as_it_was(folder: Path) -> None:
    loaded = load_reward_model(folder)
    expected = RewardModel.from_backbone(policy(), seed=4)
    assert is_reward_model(folder)
    input_ids = torch.arange(10)[None]
    assert torch.equal(loaded(input_ids), expected(input_ids))
    assert loaded(input_ids).shape == (1, 10)
    assert loaded(input_ids).std() > 0


@torch.no_grad()
def test_the_decoder_of_a_fresh_reward_model_is_the_policys() -> None:
    model = policy()
    reward = RewardModel.from_backbone(model, seed=4)
    assert reward.model is model.model
    assert reward.score.weight.std() == pytest.approx(model.config.initializer_range, rel=0.3)


def test_scores_are_fp32_under_autocast() -> None:
    model = RewardModel.from_backbone(policy(), seed=4)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.arange(10)[None]).dtype == torch.float32


def test_a_reward_model_is_no_chat_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="is a reward model: it scores answers and writes none"):
        core.load(folder)
    with pytest.raises(ModelError, match="is a reward model"):
        load_model(folder)


def test_a_chat_model_is_no_reward_model(tmp_path: Path) -> None:
    save_model(policy(), tmp_path)
    with pytest.raises(ModelError, match=r"is not a reward model\. Train one with --stage rm"):
        load_reward_model(tmp_path)


def test_a_reward_model_with_three_labels_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["score.weight"] = torch.zeros(3, 64)
    save_file(tensors, path)
    with pytest.raises(ModelError, match=r"score.weight is \[3, 64\], config.json says \[1, 64\]"):
        load_reward_model(folder)
