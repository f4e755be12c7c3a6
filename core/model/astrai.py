"""Checkpoints of AstrAI (ViperEkura/AstrAI, before that KHAOSZ), in all spellings that were published.

A dense AstrAI model is a Llama whose RoPE rotates neighbours, so q and k rows are reordered on reading. With
its q/k norm after RoPE or its gate it is no family that others know, and becomes model_type `astrai`.

| generation | from | embedding | names in a layer |
|---|---|---|---|
| A | 2024 | `embedding`, always tied | `norm_attn`, `norm_ffn`, `ffn.*` |
| B | 2025-11 | `embed_tokens.weight`, `lm_head.weight` where untied | as A |
| C | 2026-01 | as B | `input_norm`, `post_attention_norm`, `mlp.*` |

config.json has three spellings of its own (`SPELLINGS`); unknown keys were always ignored there.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from core.config.model_config import MODEL_TYPES, ModelConfig
from core.errors import ModelError
from core.model.rope_layout import neighbours_to_halves
from core.model.weights import StoredTensor

# Our name of a value -> its names there, oldest first.
SPELLINGS = {
    "hidden_size": ("n_dim", "dim", "hidden_size"),
    "num_hidden_layers": ("n_layer", "n_layers", "num_hidden_layers"),
    "intermediate_size": ("d_ffn", "dim_ffn", "intermediate_size"),
    "num_attention_heads": ("n_head", "n_heads", "num_attention_heads"),
    "num_key_value_heads": ("n_kvhead", "n_kv_heads", "num_key_value_heads"),
    "max_position_embeddings": ("m_len", "max_len", "max_position_embeddings"),
    "rms_norm_eps": ("norm_eps", "rms_norm_eps"),
    "tie_word_embeddings": ("tie_weight", "tie_word_embeddings"),
    "vocab_size": ("vocab_size",),
    "rope_theta": ("rope_theta",),
    "gated_attention": ("use_gated_attention",),
    "qk_norm": ("use_qk_norm",),
}
DEFAULTS = {"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False}
DENSE = "autoregressive_lm"
# Keys that only AstrAI's own config.json has.
MARKS = ("n_dim", "n_layer", "n_layers", "dim_ffn", "d_ffn", "attn_type", "ffn_type", "use_qk_norm")
LAYER = re.compile(r"layers\.(\d+)\.(.+)")
LAYER_NAMES = {
    **{f"attention.{name}_proj": f"self_attn.{name}_proj" for name in "qkvo"},
    "attention.q_norm": "self_attn.q_norm",
    "attention.k_norm": "self_attn.k_norm",
    "attention.gate": "self_attn.output_gate",
    "norm_attn": "input_layernorm",
    "input_norm": "input_layernorm",
    "norm_ffn": "post_attention_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    **{f"{module}.{name}": f"mlp.{name}_proj" for module in ("ffn", "mlp") for name in ("up", "gate", "down")},
}
OTHER_NAMES = {
    "embedding": "model.embed_tokens.weight",
    "embedding.weight": "model.embed_tokens.weight",
    "embed_tokens.weight": "model.embed_tokens.weight",
    "lm_head.weight": "lm_head.weight",
    "norm.weight": "model.norm.weight",
}


def is_astrai(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is AstrAI's own; those that are written here have a model_type of `MODEL_TYPES`."""
    family = values.get("model_type")
    return family not in MODEL_TYPES and (family == DENSE or any(mark in values for mark in MARKS))


def astrai_config(values: Mapping[str, Any], names: Collection[str]) -> ModelConfig:
    """The shape that an AstrAI config.json describes, with the names of the tensors beside it. Raises ModelError.

    Where they have no head, AstrAI takes the embedding, whatever its config says.
    """
    if values.get("model_type") not in (None, DENSE):
        raise ModelError(
            "AstrAI's {name} {found} is not supported.", "Only {known} is.",
            name="model_type", found=repr(values["model_type"]), known=DENSE,
        )  # fmt: skip
    for key, only in (("attn_type", "gqa"), ("ffn_type", "mlp"), ("rope_scaling", None)):
        if values.get(key) not in (None, only):
            raise ModelError(
                "AstrAI's {name} {found} is not supported.", "Only {known} is.",
                name=key, found=repr(values[key]), known=only or "null",
            )  # fmt: skip
    found = {
        ours: next((values[name] for name in names if values.get(name) is not None), DEFAULTS.get(ours))
        for ours, names in SPELLINGS.items()
    }
    shape = {key: value for key, value in found.items() if value is not None}
    has_head = any(our_name(name) == "lm_head.weight" for name in names)
    shape["tie_word_embeddings"] = bool(shape["tie_word_embeddings"]) or not has_head
    has_own_options = bool(shape.get("qk_norm") or shape.get("gated_attention"))
    if not has_own_options:
        shape = {key: value for key, value in shape.items() if key not in ("qk_norm", "gated_attention")}
    ids = {key: values[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in values}
    options = {"model_type": "astrai", "qk_norm_after_rope": bool(shape.get("qk_norm"))} if has_own_options else {}
    return ModelConfig.from_hf({"model_type": "llama", **shape, **ids, **options})


def astrai_weights(config: ModelConfig, stored: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """AstrAI's tensors under our names, with q and k in our order. Raises ModelError for parts we do not run."""
    return {our_name(name): _reordered(config, our_name(name), tensor) for name, tensor in stored.items()}


def our_name(name: str) -> str:
    """The name here of a tensor there; its own name for one that is unknown. Raises ModelError for MLA and MoE."""
    name = name.removeprefix("module.")  # of checkpoints that were written under DDP
    if ".kv_a_proj." in name or ".router." in name or "_experts." in name:
        is_latent = ".kv_a_proj." in name
        raise ModelError(
            "This AstrAI model has latent attention (MLA): {name}."
            if is_latent
            else "This AstrAI model has a mixture of experts (MoE): {name}.",
            "Use one of AstrAI's dense models.",
            name=name,
        )
    match = LAYER.fullmatch(name)
    if match is None:
        return OTHER_NAMES.get(name, name)
    module, _, parameter = match[2].rpartition(".")
    return f"model.layers.{match[1]}.{LAYER_NAMES[module]}.{parameter}" if module in LAYER_NAMES else name


def _reordered(config: ModelConfig, name: str, tensor: StoredTensor) -> StoredTensor:
    heads = {
        "q_proj.weight": config.num_attention_heads,
        "k_proj.weight": config.num_key_value_heads,
        "q_norm.weight": 1,
        "k_norm.weight": 1,
    }
    count = next((number for end, number in heads.items() if name.endswith(end)), None)
    if count is None:
        return tensor
    return StoredTensor(tensor.shape, tensor.dtype, partial(_read_reordered, tensor.read, count))


def _read_reordered(read: Callable[[], Tensor], num_heads: int) -> Tensor:
    return neighbours_to_halves(read(), num_heads)
