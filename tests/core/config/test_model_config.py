"""What a `config.json` from elsewhere may say, and what is refused before anything is built."""

import dataclasses
from typing import Any

import pytest

from core.config.model_config import PRESETS, ModelConfig
from core.errors import ConfigError, ModelError

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 40,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
WINDOW = {"use_sliding_window": True, "sliding_window": 8}


def read(**changes: Any) -> ModelConfig:
    return ModelConfig.from_hf({**LLAMA, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": "wide"}, "hidden_size is 'wide'"),
        ({"num_attention_heads": 0}, "num_attention_heads is 0"),
        ({"num_hidden_layers": None, "vocab_size": True}, "vocab_size is True, num_hidden_layers is None"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, the maximum is 1024"),
        ({"vocab_size": 2**40}, "vocab_size is 1099511627776, the maximum is 16777216"),
        ({"bos_token_id": -5}, "bos_token_id is -5, the minimum is 0"),
        ({"eos_token_id": "</s>"}, "eos_token_id is '</s>', it must be int"),
        ({"eos_token_id": []}, r"eos_token_id is \[\], it must be int"),
        ({"num_key_value_heads": 3}, "num_attention_heads 4 is not a multiple of num_key_value_heads 3"),
        ({"head_dim": 7}, "head_dim 7 is odd"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan"),
        ({"rope_theta": "big"}, "rope_theta is 'big'"),
        ({"rope_scaling": [1]}, r"rope_scaling is \[1\], not an object"),
        ({"rope_scaling": {"type": "longrope"}}, "'longrope' is not one of default, linear, llama3, yarn"),
        ({"rope_scaling": {"type": "linear"}}, "linear needs a positive factor, not None"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "linear needs a positive factor, not 0"),
        ({"rope_scaling": {"type": "llama3", "factor": "8"}}, "llama3 needs a positive factor, not '8'.*low_freq"),
        ({"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": -1}}, "positive beta_fast, not -1"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"model_type": ["llama"]}, r"model_type \['llama'\] is not supported"),
    ],
)
def test_a_config_that_cannot_be_right_is_refused_with_its_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(**changes)


def test_missing_fields_are_all_named() -> None:
    with pytest.raises(ModelError, match=r"hidden_size is 'missing', .*max_position_embeddings is 'missing'"):
        ModelConfig.from_hf({"model_type": "llama", "vocab_size": 5})


def test_silence_means_what_it_means_in_transformers() -> None:
    assert read().rms_norm_eps == 1e-6
    assert read().head_dim == 8
    assert read().num_key_value_heads == 4
    assert read(model_type="qwen3").head_dim == 128
    assert read(model_type="mistral").sliding_window == 4096
    assert read(model_type="mistral", sliding_window=None).sliding_window is None


def test_the_first_of_several_end_tokens_counts_and_minus_one_is_no_padding() -> None:
    config = read(eos_token_id=[7, 9], pad_token_id=-1)
    assert config.eos_token_id == 7
    assert config.pad_token_id is None


@pytest.mark.parametrize(("first_layer", "window"), [(0, 8), (40, None), (64, None)])
def test_a_window_holds_for_all_layers_or_none(first_layer: int, window: int | None) -> None:
    assert read(model_type="qwen2", **WINDOW, max_window_layers=first_layer).sliding_window == window


def test_layers_with_and_without_a_window_are_refused_with_their_number() -> None:
    with pytest.raises(ModelError, match="28 of 40 layers have full attention"):
        read(model_type="qwen2", **WINDOW)
    kinds = ["full_attention"] * 10 + ["sliding_attention"] * 30
    with pytest.raises(ModelError, match="10 of 40 layers have full attention"):
        read(model_type="qwen3", **WINDOW, layer_types=kinds)


def test_mistral_without_a_window_says_so_in_its_config() -> None:
    config = read(model_type="mistral", sliding_window=None)
    assert config.to_hf()["sliding_window"] is None
    assert ModelConfig.from_hf(config.to_hf()) == config


def test_a_misspelt_field_of_a_shape_is_named() -> None:
    with pytest.raises(ConfigError, match='no option "num_layers": did you mean "num_hidden_layers"'):
        ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), "num_layers": 3})


def test_the_numbers_of_astrai_are_those_of_its_preset() -> None:
    shape = PRESETS["1b"]
    assert (shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size) == (24, 1536, 6912)
    assert (shape.num_attention_heads, shape.num_key_value_heads, shape.vocab_size) == (24, 4, 100_000)
    assert shape.num_parameters == 1_050_207_744
    assert dataclasses.replace(shape, tie_word_embeddings=False).num_parameters == 1_203_807_744
