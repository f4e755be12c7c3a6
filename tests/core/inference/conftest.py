"""A tiny random model on disk and loaded, shared by the tests of a file."""

from pathlib import Path

import pytest

import core
from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.inference.generator import LanguageModel
from core.model.checkpoint import save_model
from core.model.transformer import Transformer


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    model = Transformer(ModelConfig.from_dict(values))
    model.init_weights(seed=2)
    folder = tmp_path_factory.mktemp("tiny")
    save_model(model, folder, tokenizer=tokenizer)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> LanguageModel:
    return core.load(folder)
