"""How queries meet keys: the attention product, its causal mask, and what a model asks of a cache.

A forward pass is the same with and without a cache: each layer hands its new queries, keys and values to an
`AttentionCache`, which knows what came before. Legend: B batch, T new tokens, S all tokens so far, H query
heads, K kv heads, D head dim.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


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


class NoCache:
    """Whole sequences at once, as in training.

    With document_ids (B, T) a token sees its own document only. With branch_ids (B, T) it sees of that what is in
    branch 0 or in its own branch: several answers share one prompt. position_ids (B, T) then measure a window.
    """

    def __init__(
        self,
        document_ids: Tensor | None = None,
        branch_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> None:
        assert branch_ids is None or (document_ids is not None and position_ids is not None)
        self._document_ids, self._branch_ids, self._position_ids = document_ids, branch_ids, position_ids
        self._mask: Tensor | None = None

    def begin(self, num_tokens: int, window: int | None, device: torch.device) -> int:
        if self._branch_ids is not None:
            self._mask = self._branched_mask(self._branch_ids, num_tokens, window, device)
            return num_tokens
        ids = self._document_ids
        self._mask = causal_mask(0, num_tokens, window=window, device=device, is_needed=ids is not None)
        if ids is not None:
            assert self._mask is not None
            self._mask = self._mask & _same(ids)
        return num_tokens

    def _branched_mask(self, branches: Tensor, num_tokens: int, window: int | None, device: torch.device) -> Tensor:
        """(B, 1, T, T): earlier in the row, of the same document, in branch 0 or the own branch, within the window."""
        mask = causal_mask(0, num_tokens, window=None, device=device, is_needed=True)
        documents, positions = self._document_ids, self._position_ids
        assert mask is not None
        assert documents is not None
        assert positions is not None
        mask = mask & _same(documents) & (_same(branches) | (branches == 0)[:, None, None, :])
        if window is not None:
            mask &= positions[:, None, None, :] > positions[:, None, :, None] - window
        return mask

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, self._mask)

    def finish(self, num_tokens: int) -> None:
        """Nothing is kept."""


def _same(ids: Tensor) -> Tensor:
    """(B, T) -> (B, 1, T, T): where query and key have the same number."""
    return ids[:, None, :, None] == ids[:, None, None, :]


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
