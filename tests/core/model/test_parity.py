"""Our logits against transformers' own models, on tiny random weights."""

import pytest
import torch
import transformers

from core.config.model_config import ModelConfig
from core.model.transformer import Transformer
from tests.core.model.cached import cached_logits

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
YARN_FACTOR = {**YARN, "attention_factor": 1.3, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False}
YARN_SCALE = {**YARN, "mscale": 0.7, "mscale_all_dim": 0.4}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}

CASES = {
    "llama": lambda: transformers.LlamaConfig(**TINY, head_dim=8),
    "llama wide heads, tied": lambda: transformers.LlamaConfig(**TINY, head_dim=16, tie_word_embeddings=True),
    "llama with biases": lambda: transformers.LlamaConfig(**TINY, attention_bias=True, mlp_bias=True),
    "llama3 scaling": lambda: transformers.LlamaConfig(**TINY, rope_parameters=LLAMA3),
    "linear scaling": lambda: transformers.LlamaConfig(**TINY, rope_parameters=LINEAR),
    "yarn scaling": lambda: transformers.LlamaConfig(**TINY, rope_parameters=YARN),
    "yarn with its own factor": lambda: transformers.LlamaConfig(**TINY, rope_parameters=YARN_FACTOR),
    "yarn with mscale": lambda: transformers.LlamaConfig(**TINY, rope_parameters=YARN_SCALE),
    "mistral": lambda: transformers.MistralConfig(**TINY, sliding_window=None),
    "mistral with window": lambda: transformers.MistralConfig(**TINY, sliding_window=5),
    "qwen2": lambda: transformers.Qwen2Config(**TINY),
    "qwen2 with window": lambda: transformers.Qwen2Config(
        **TINY, use_sliding_window=True, sliding_window=5, max_window_layers=0
    ),
    "qwen2 whose window begins after the last layer": lambda: transformers.Qwen2Config(
        **TINY, use_sliding_window=True, sliding_window=5, max_window_layers=3
    ),
    "qwen2 with yarn": lambda: transformers.Qwen2Config(**TINY, rope_parameters=YARN),
    "qwen3 with window and biases": lambda: transformers.Qwen3Config(
        **TINY, head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=7, max_window_layers=0
    ),
    "qwen3": lambda: transformers.Qwen3Config(**TINY, head_dim=16),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request: pytest.FixtureRequest) -> tuple[transformers.PreTrainedModel, Transformer]:
    torch.manual_seed(0)
    config = CASES[request.param]()
    reference = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in reference.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = Transformer(ModelConfig.from_hf(config.to_dict())).eval()
    ours.load_state_dict(reference.state_dict())
    return reference, ours


@torch.no_grad()
def test_logits_equal_the_reference(pair: tuple[transformers.PreTrainedModel, Transformer]) -> None:
    reference, ours = pair
    input_ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(input_ids), reference(input_ids).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_decode_with_cache_equals_full_forward(pair: tuple[transformers.PreTrainedModel, Transformer]) -> None:
    reference, ours = pair
    input_ids = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(2))
    spans = [(0, 7), (7, 20), *((i, i + 1) for i in range(20, 40))]
    logits = cached_logits(ours, input_ids, spans)
    torch.testing.assert_close(logits, reference(input_ids).logits, atol=1e-5, rtol=0)


def test_parameter_count_of_the_config_is_the_models(
    pair: tuple[transformers.PreTrainedModel, Transformer],
) -> None:
    _, ours = pair
    assert sum(parameter.numel() for parameter in ours.parameters()) == ours.config.num_parameters


def test_our_config_json_reads_back_and_is_read_by_transformers(
    pair: tuple[transformers.PreTrainedModel, Transformer],
) -> None:
    reference, ours = pair
    written = ours.config.to_hf()
    assert ModelConfig.from_hf(written) == ours.config
    theirs = type(reference.config)(**written)
    rebuilt = transformers.AutoModelForCausalLM.from_config(theirs, attn_implementation="eager").eval()
    rebuilt.load_state_dict(ours.state_dict())
    input_ids = torch.arange(30)[None]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(input_ids).logits, ours(input_ids), atol=1e-5, rtol=0)
