"""Folders as families publish them: every spelling of config.json, halves, shards; transformers agrees."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.model.checkpoint import load_config, load_model
from tests.core.model.cached import cached_logits

TINY = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "hidden_act": "silu",
    "use_cache": True,
    "attention_dropout": 0.0,
}
LLAMA = {**TINY, "model_type": "llama", "architectures": ["LlamaForCausalLM"], "pretraining_tp": 1}
QWEN2 = {**TINY, "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_key_value_heads": 2}
# What each family's config.json says, with small numbers in the place of large ones.
CONFIGS: dict[str, dict[str, Any]] = {
    "Llama 2": {
        **LLAMA,
        "num_key_value_heads": 4,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": -1,
    },
    "Llama 3.1 Instruct": {
        **LLAMA,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
            "rope_type": "llama3",
        },
        "mlp_bias": False,
        "attention_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "eos_token_id": [70, 71, 72],
        "bos_token_id": 69,
    },
    "Llama 3.2": {
        **LLAMA,
        "head_dim": 8,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_parameters": {
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
            "rope_theta": 500000.0,
            "rope_type": "llama3",
        },
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    },
    "TinyLlama": {**LLAMA, "num_key_value_heads": 1, "rms_norm_eps": 1e-05, "tie_word_embeddings": False},
    "SmolLM2": {
        **LLAMA,
        "num_key_value_heads": 2,
        "is_llama_config": True,
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": 100000,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    },
    "Mistral v0.3": {
        **TINY,
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "num_key_value_heads": 2,
        "head_dim": None,
        "sliding_window": None,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": False,
    },
    "Mistral Nemo": {
        **TINY,
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "num_key_value_heads": 2,
        "head_dim": 12,
        "sliding_window": None,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-05,
    },
    "Qwen2.5": {
        **QWEN2,
        "max_window_layers": 1,
        "sliding_window": 16,
        "use_sliding_window": False,
        "use_mrope": False,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
        "eos_token_id": 64,
    },
    "DeepSeek-R1-Distill-Qwen": {
        **QWEN2,
        "max_window_layers": 1,
        "sliding_window": 16,
        "use_sliding_window": False,
        "use_mrope": False,
        "rms_norm_eps": 1e-06,
        "rope_theta": 10000,
        "tie_word_embeddings": False,
        "bos_token_id": 65,
        "eos_token_id": 64,
    },
    "Qwen3": {
        **TINY,
        "model_type": "qwen3",
        "architectures": ["Qwen3ForCausalLM"],
        "num_key_value_heads": 2,
        "head_dim": 16,
        "attention_bias": False,
        "max_window_layers": 2,
        "sliding_window": None,
        "use_sliding_window": False,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-06,
        "tie_word_embeddings": True,
    },
}


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as published: shards in bfloat16, and the config.json above in the place of transformers' own."""
    values = CONFIGS[request.param]
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(**values)
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.2)
    path = tmp_path_factory.mktemp("folder")
    model.save_pretrained(path, max_shard_size="15KB")
    (path / "config.json").write_text(json.dumps(values))
    return path


@torch.no_grad()
def test_a_folder_of_the_family_gives_transformers_logits(folder: Path) -> None:
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    ours = load_model(folder, dtype=torch.float32)
    input_ids = torch.randint(0, 96, (2, 48), generator=torch.Generator().manual_seed(1))
    expected = reference(input_ids).logits
    torch.testing.assert_close(ours(input_ids), expected, atol=1e-5, rtol=0)
    logits = cached_logits(ours, input_ids, [(begin, begin + 12) for begin in range(0, 48, 12)])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


def test_weights_stay_in_halves_where_no_type_is_asked_for(folder: Path) -> None:
    assert load_model(folder).model.norm.weight.dtype == torch.bfloat16


def test_the_first_of_several_ends_is_the_models_and_a_head_dim_of_null_is_computed() -> None:
    assert ModelConfig.from_hf(CONFIGS["Llama 3.1 Instruct"]).eos_token_id == 70
    assert ModelConfig.from_hf(CONFIGS["Mistral v0.3"]).head_dim == 8
    assert ModelConfig.from_hf(CONFIGS["Llama 2"]).pad_token_id is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gemma2"}, "model_type 'gemma2' is not supported. Use a model of one of: llama, mistral"),
        (
            {"model_type": "deepseek_v3", "auto_map": {"AutoModel": "modeling_deepseek.DeepseekV3Model"}},
            r"model_type 'deepseek_v3' is not supported and brings its own code \(auto_map\), which is never run",
        ),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
        ({"rope_interleaved": True}, "rope_interleaved True is not supported. Only false is"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling 'dynamic' is not one of"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "llama3 needs a positive low_freq_factor"),
    ],
)
def test_what_we_do_not_run_is_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIGS["Llama 2"], **change}))
    with pytest.raises(ModelError, match=message):
        load_config(tmp_path)


def test_foreign_code_beside_a_family_that_we_run_is_left_alone(tmp_path: Path) -> None:
    own_code = {"auto_map": {"AutoModelForCausalLM": "modeling_x.Model"}}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIGS["Qwen2.5"], **own_code}))
    (tmp_path / "modeling_x.py").write_text("raise SystemExit('run')")
    assert load_config(tmp_path).model_type == "qwen2"
