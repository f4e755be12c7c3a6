"""Attention of whole rows on a GPU, by kernels that skip what a query does not see.

Legend: B rows, T tokens, N tokens of all rows, H query heads, K kv heads, D head dim.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.model.visibility import Visibility

# softmax(q kᵀ / √D) v with q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D).
RowAttention = Callable[[Tensor, Tensor, Tensor], Tensor]

# Rows of a batch hold changing numbers of documents; compiled code meets few lengths of their table.
TABLE_STEP = 256


def can_use_documents(visibility: Visibility, dtype: torch.dtype) -> bool:
    """Whether FlashAttention's kernel for sequences of many lengths serves: on CUDA, in half precision."""
    is_half = dtype in (torch.bfloat16, torch.float16)
    return visibility.device.type == "cuda" and is_half and visibility.branch_ids is None


class DocumentAttention:
    """Each document of each row as a sequence of its own (Dao 2023, FlashAttention-2)."""

    def __init__(self, visibility: Visibility, batch: int) -> None:
        time, device = visibility.num_tokens, visibility.device
        starts = visibility.first_keys()
        starts = torch.zeros(batch, time, device=device) if starts is None else starts
        begins = (starts == torch.arange(time, device=device)).flatten().nonzero().flatten()
        size = -(-(len(begins) + 1) // TABLE_STEP) * TABLE_STEP
        self.begins = torch.full((size,), batch * time, dtype=torch.int32, device=device)  # beyond: empty documents
        self.begins[: len(begins)] = begins
        self.longest = time
        self._attend = _varlen_attention()
        self.window = (-1 if visibility.window is None else visibility.window - 1, 0)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        batch, _, time, _ = q.shape
        q, k, v = (part.transpose(1, 2).flatten(0, 1) for part in (q, k, v))  # (N, H or K, D)
        result: Tensor = self._attend(
            q, k, v, self.begins, self.begins, self.longest, self.longest, window_size=self.window
        )
        return torch.unflatten(result, 0, (batch, time)).transpose(1, 2)


@functools.cache
def _varlen_attention() -> Callable[..., Any]:
    """torch's function; from 2.12 on it asks to be told of shared heads, before it took them unasked."""
    from torch.nn.attention.varlen import varlen_attn

    takes_gqa = "enable_gqa" in inspect.signature(varlen_attn).parameters
    return functools.partial(varlen_attn, enable_gqa=True) if takes_gqa else varlen_attn


class FlexAttention:
    """Any visibility, block by block (Dong et al. 2024); where the caller is not compiled torch computes it whole."""

    def __init__(self, visibility: Visibility, batch: int) -> None:
        from torch.nn.attention.flex_attention import create_block_mask

        time = visibility.num_tokens

        def sees(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return visibility.sees(row, query, key)

        self.mask = create_block_mask(sees, batch, None, time, time, device=str(visibility.device))

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        result: Tensor = flex_attention(q, k, v, block_mask=self.mask, enable_gqa=True)
        return result
