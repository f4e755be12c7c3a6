"""The parts of a decoder block, with Hugging Face's module names, so weights load by name.

Legend: B batch, T new tokens, S all tokens so far, C hidden, H query heads, K kv heads, D head dim.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.model.attention import AttentionCache
from core.model.fused import Rotary, can_fuse, norm_mlp, norm_qkv
from core.model.rope import apply_rotary
from core.model.row_attention import RowAttention


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last dimension, the mean square in fp32 (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps)
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


@dataclass(frozen=True, slots=True)
class AttentionInput:
    """What every layer's attention shares in one forward pass."""

    cos: Tensor  # (B or 1, 1, T, D)
    sin: Tensor
    cache: AttentionCache | None = None  # what came before
    rows: RowAttention | None = None  # how whole rows attend, where nothing came before
    compiles: bool = False

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        if self.rows is not None:
            return self.rows(q, k, v)
        assert self.cache is not None
        return self.cache.attend(layer, q, k, v)

    def rotary(self, batch: int) -> Rotary:
        """The angles of all tokens of `batch` rows."""
        return Rotary(*(part[:, 0].expand(batch, -1, -1).flatten(0, 1)[:, None] for part in (self.cos, self.sin)))


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_dim = (
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
        )
        q, kv, bias = self.heads * self.head_dim, self.kv_heads * self.head_dim, config.attention_bias
        self.q_proj = nn.Linear(config.hidden_size, q, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv, bias=bias)
        self.o_proj = nn.Linear(q, config.hidden_size, bias=config.attention_out_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        if config.gated_attention:
            self.output_gate = nn.Linear(config.hidden_size, q, bias=False)
        self.norm_first = config.qk_norm and not config.qk_norm_after_rope
        self.norm_last, self.is_gated = config.qk_norm_after_rope, config.gated_attention

    def forward(self, x: Tensor, shared: AttentionInput) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        batch, time, _ = x.shape
        q = self.q_proj(x).view(batch, time, self.heads, self.head_dim)
        k = self.k_proj(x).view(batch, time, self.kv_heads, self.head_dim)
        v = self.v_proj(x).view(batch, time, self.kv_heads, self.head_dim).transpose(1, 2)
        if self.norm_first:
            q, k = self.q_norm(q), self.k_norm(k)
        q = apply_rotary(q.transpose(1, 2), shared.cos, shared.sin)  # (B, H, T, D)
        k = apply_rotary(k.transpose(1, 2), shared.cos, shared.sin)  # (B, K, T, D)
        if self.norm_last:
            q, k = self.q_norm(q), self.k_norm(k)
        y = shared.attend(self.layer, q.to(v.dtype), k.to(v.dtype), v)
        y = y.transpose(1, 2).reshape(batch, time, -1)
        return self.o_proj(y * torch.sigmoid(self.output_gate(x)) if self.is_gated else y)

    def can_fuse(self, x: Tensor) -> bool:
        """Whether `fused` computes what this layer is."""
        is_plain = not (self.norm_first or self.norm_last or self.is_gated)
        return is_plain and can_fuse(x, self.q_proj, self.k_proj, self.v_proj, self.o_proj)

    def fused(self, x: Tensor, norm: RMSNorm, shared: AttentionInput) -> Tensor:
        """x + attention(norm(x)), (B, T, C) -> (B, T, C)."""
        batch, time, hidden = x.shape
        weights = self.q_proj.weight, self.k_proj.weight, self.v_proj.weight
        parts = norm_qkv(x.flatten(0, 1), norm.weight, norm.eps, weights, shared.rotary(batch))
        q, k, v = (torch.unflatten(part, 0, (batch, time)).transpose(1, 2) for part in parts)  # (B, H or K, T, D)
        y = shared.attend(self.layer, q, k, v).transpose(1, 2).reshape(batch * time, -1)
        return torch.addmm(x.view(-1, hidden), y, self.o_proj.weight.T).view(x.shape)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, shared: AttentionInput) -> Tensor:
        return compiled_block()(self, x, shared) if shared.compiles else self.compute(x, shared)

    def compute(self, x: Tensor, shared: AttentionInput) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        is_rows = shared.rows is not None
        if is_rows and self.self_attn.can_fuse(x):
            x = self.self_attn.fused(x, self.input_layernorm, shared)
        else:
            x = x + self.self_attn(self.input_layernorm(x), shared)
        norm, mlp = self.post_attention_layernorm, self.mlp
        if is_rows and can_fuse(x, mlp.gate_proj, mlp.up_proj, mlp.down_proj):
            return norm_mlp(x, norm.weight, norm.eps, mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight)
        return x + mlp(norm(x))


@functools.cache
def compiled_block() -> Callable[[Block, Tensor, AttentionInput], Tensor]:
    """`Block.compute` by torch.compile, once for the blocks of all models."""
    compiled: Callable[[Block, Tensor, AttentionInput], Tensor] = torch.compile(Block.compute)
    return compiled
