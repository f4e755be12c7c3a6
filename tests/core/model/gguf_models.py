"""Small models of every family that GGUF holds, with random weights and the tests' tokenizer."""

from pathlib import Path
from typing import Any

import torch

from core.config.model_config import ModelConfig
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import save_model
from core.model.transformer import Transformer

# Rows of 256 values, which K-quants need.
SHAPE = {
    "vocab_size": 420,
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 256,
    "initializer_range": 0.08,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama, untied, wide heads": {"tie_word_embeddings": False, "head_dim": 96, "rms_norm_eps": 1e-6},
    "llama with biases": {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True},
    "llama3 scaling": {"rope_scaling": LLAMA3, "rope_theta": 500000.0},
    "linear scaling": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "yarn scaling": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    },
    "mistral with a window": {"model_type": "mistral", "sliding_window": 128, "rope_theta": 1e6},
    "qwen2": {"model_type": "qwen2", "attention_bias": True, "rope_theta": 1e6},
    "qwen3": {"model_type": "qwen3", "qk_norm": True, "head_dim": 128, "tie_word_embeddings": False},
}


def make(name: str, tokenizer: Tokenizer, folder: Path) -> Transformer:
    """Write the folder of a family's small model."""
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.pad_id}
    model = Transformer(ModelConfig.from_dict({**SHAPE, **ids, **FAMILIES[name]})).eval()
    model.init_weights(seed=4)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.2, generator=generator)
    save_model(model, folder, tokenizer=tokenizer)
    return model
