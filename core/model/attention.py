"""How queries meet keys: the attention product, its causal mask, and what a model asks of a cache.

A forward pass is the same with and without a cache: each layer hands its new queries, keys and values to an
`AttentionCache`, which knows what came before. Legend: B batch, T new tokens, S all tokens so far, H query
heads, K kv heads, D head dim.
"""

from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from core.model.block_attention import block_attention, plan_blocks
from core.model.row_attention import DocumentAttention, FlexAttention, RowAttention, can_use_documents
from core.model.visibility import Visibility


class AttentionCache(Protocol):
    """What came before the new tokens, and how their queries meet it."""

    def begin(self, num_tokens: int, window: int | None, device: torch.device) -> int:
        """Prepare a pass over (B, num_tokens) tokens; return how many positions it reaches.

        With a `window` a token attends to that many last tokens only. Raises GenerationError for want of room.
        """

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep k and v (B, K, T, D) and let q (B, H, T, D) meet them and all before -> (B, H, T, D)."""

    def finish(self, num_tokens: int) -> None:
        """The last layer is done: the new tokens are of the past now."""


def choose_attention(visibility: Visibility, batch: int, dtype: torch.dtype, *, compiles: bool = False) -> RowAttention:
    """The attention of `batch` whole rows in this arithmetic, as in training: a token sees what `visibility` says.

    On a CPU blocks of queries; on a GPU torch's fused kernels, by document where rows hold several. What those do
    not know (branches, or another arithmetic) goes through FlexAttention where the caller is compiled, else through
    a mask.
    """
    if visibility.device.type == "cpu" and dtype in (torch.float32, torch.float64):
        plan = plan_blocks(visibility, batch)
        return lambda q, k, v: block_attention(q, k, v, plan)
    if visibility.is_causal:
        return partial(attention, mask=None)
    if can_use_documents(visibility, dtype):
        return DocumentAttention(visibility, batch)
    if compiles:
        return FlexAttention(visibility, batch)
    return partial(attention, mask=visibility.mask())


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √D) v with K kv heads shared by H query heads -> (B, H, T, D).

    Without a mask it is causal when T = S, and sees everything when T = 1.
    """
    k, v = k.to(q.dtype), v.to(q.dtype)
    groups = q.shape[1] // k.shape[1]
    if q.shape[2] == 1 and groups > 1:
        # One query: the heads of a group become rows of one matrix, so k and v are read once.
        batch, heads, _, dim = q.shape
        grouped = q.view(batch, k.shape[1], groups, dim)
        return F.scaled_dot_product_attention(grouped, k, v, attn_mask=mask).reshape(batch, heads, 1, dim)
    is_causal = mask is None and q.shape[2] > 1
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal, enable_gqa=groups > 1)


def causal_mask(
    past: int, num_tokens: int, *, window: int | None, device: torch.device, is_needed: bool = False
) -> Tensor | None:
    """(1, 1, T, S) of bool, true where attended; None where plain causal attention is right, unless `is_needed`."""
    end = past + num_tokens
    is_windowed = window is not None and end > window
    if not is_needed and not is_windowed and (past == 0 or num_tokens == 1):
        return None
    query = torch.arange(past, end, device=device)[:, None]
    key = torch.arange(end, device=device)[None, :]
    mask = key <= query
    if window is not None:
        mask &= key > query - window
    return mask[None, None]
