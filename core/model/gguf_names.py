"""GGUF's names for our tensors, and which of them have another order of rows there."""

import re

# Of a layer.
MODULES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OTHERS = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
ROPE_FACTORS = "rope_freqs.weight"
# Our model_type -> GGUF's architecture.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_MODULES_BACK = {theirs: ours for ours, theirs in MODULES.items()}
_OTHERS_BACK = {theirs: ours for ours, theirs in OTHERS.items()}


def to_gguf_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `blk.3.ffn_up.weight`."""
    if name in OTHERS:
        return OTHERS[name]
    _, _, layer, *module, parameter = name.split(".")
    return f"blk.{layer}.{MODULES['.'.join(module)]}.{parameter}"


def from_gguf_name(name: str) -> str:
    """`blk.3.ffn_up.weight` -> `model.layers.3.mlp.up_proj.weight`; an unknown name stays."""
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(\w+)", name)
    if match is None or match[2] not in _MODULES_BACK:
        return _OTHERS_BACK.get(name, name)
    return f"model.layers.{match[1]}.{_MODULES_BACK[match[2]]}.{match[3]}"


def rotated_heads(architecture: str, name: str, heads: int, kv_heads: int) -> int | None:
    """Heads of a tensor (by our name) whose rows rotate as neighbours there: q and k of llama."""
    if architecture != "llama":
        return None
    module = name.rpartition(".")[0]
    return {"q_proj": heads, "k_proj": kv_heads}.get(module.rpartition(".")[2])
