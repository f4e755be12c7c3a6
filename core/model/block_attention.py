"""Attention of whole rows on a CPU: matrix products over blocks of queries, each with the keys that it can see.

torch's CPU attention multiplies whole squares of 512 keys, masked or not, and is slow with a mask. Here a block of
queries meets the keys from the start of its document to its own end, so that neither the future nor other documents
cost anything, and a mask exists only where a block needs one. Scores live for one block; the backward pass computes
them anew, as in FlashAttention (Dao et al. 2022).

Legend: B rows, T tokens, H query heads, K kv heads, G query heads of a kv head, D head dim, M queries of a block,
N its keys.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.model.visibility import Visibility

BLOCK_TOKENS = 128


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Queries [first, end) of a row and its keys [key, end). `bias` (M, ≤ N) is added to the last of the scores."""

    row: int
    first: int
    end: int
    key: int
    bias: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class BlockPlan:
    """The blocks of all rows, which every layer uses, and the most keys that one has."""

    blocks: list[Block]
    max_keys: int


def plan_blocks(visibility: Visibility, batch: int) -> BlockPlan:
    """Cut `batch` rows into blocks."""
    size = min(BLOCK_TOKENS, visibility.num_tokens)
    future = torch.full((size, size), -torch.inf).triu(1)
    starts = visibility.first_keys()
    blocks = []
    for first in range(0, visibility.num_tokens, size):
        end = min(first + size, visibility.num_tokens)
        keys = [0] * batch if starts is None else starts[:, first].tolist()
        if visibility.window is not None and visibility.branch_ids is None:
            keys = [max(key, first - visibility.window + 1) for key in keys]
        blocks += [
            Block(row, first, end, key, _bias(visibility, row, first, end, key, future)) for row, key in enumerate(keys)
        ]
    return BlockPlan(sorted(blocks, key=lambda block: block.row), max(block.end - block.key for block in blocks))


def _bias(visibility: Visibility, row: int, first: int, end: int, key: int, future: Tensor) -> Tensor:
    """-inf where a key is not seen, for the block's own square or for all its keys."""
    own = future[: end - first, : end - first]
    seen = visibility.seen(row, slice(first, end), slice(key, end))
    if seen is None or bool(seen.all()):
        return own
    bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)
    bias[:, first - key :] += own
    return bias


@torch.compiler.disable  # type: ignore[untyped-decorator]
def block_attention(q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan) -> Tensor:
    """softmax(q kᵀ / √D) v with q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
    result: Tensor = _BlockAttention.apply(q, k, v, plan)  # type: ignore[no-untyped-call]
    return result


class _Work:
    """Views of the operands in which the heads of a group are rows of one matrix, and memory for one block."""

    def __init__(self, q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan) -> None:
        batch, heads, time, dim = q.shape
        kv_heads = k.shape[1]
        self.shape = batch, time, kv_heads, heads // kv_heads, dim
        self.scale = dim**-0.5
        self.q = q.transpose(1, 2).contiguous().view(self.shape)
        self.k, self.v = k.contiguous(), v.contiguous()
        most = heads * min(BLOCK_TOKENS, time)
        self._scores, self._rows = q.new_empty(2, most * plan.max_keys), q.new_empty(3, most * dim)

    def scores(self, number: int, block: Block) -> Tensor:
        """Memory for one (K, M·G, N)."""
        _, _, kv_heads, groups, _ = self.shape
        shape = kv_heads, (block.end - block.first) * groups, block.end - block.key
        return self._scores[number, : shape[0] * shape[1] * shape[2]].view(shape)

    def rows(self, number: int, block: Block) -> Tensor:
        """Memory for one (K, M·G, D)."""
        _, _, kv_heads, groups, dim = self.shape
        shape = kv_heads, (block.end - block.first) * groups, dim
        return self._rows[number, : shape[0] * shape[1] * shape[2]].view(shape)

    def of_block(self, tensor: Tensor, block: Block) -> Tensor:
        """A block of (B, T, K, G, D) as (K, M, G, D)."""
        return tensor[block.row, block.first : block.end].transpose(0, 1)

    def probabilities(self, block: Block) -> tuple[Tensor, Tensor]:
        """The scaled queries (K, M·G, D) and the probabilities (K, M·G, N) of their keys."""
        q, scores = self.rows(0, block), self.scores(0, block)
        source = self.of_block(self.q, block)
        torch.mul(source, self.scale, out=q.view(source.shape))
        torch.bmm(q, self.k[block.row, :, block.key : block.end].transpose(1, 2), out=scores)
        biased = torch.unflatten(scores, 1, (-1, self.shape[3]))[..., -block.bias.shape[1] :]
        biased += block.bias[:, None]
        return q, torch.softmax(scores, dim=-1, out=scores)


class _BlockAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, plan: BlockPlan) -> Tensor:
        work = _Work(q, k, v, plan)
        result = torch.empty_like(work.q)
        for block in plan.blocks:
            _, probabilities = work.probabilities(block)
            rows = torch.bmm(probabilities, work.v[block.row, :, block.key : block.end], out=work.rows(1, block))
            target = work.of_block(result, block)
            target.copy_(rows.view(target.shape))
        ctx.save_for_backward(q, k, v)
        ctx.plan = plan
        return result.flatten(2, 3).transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v = ctx.saved_tensors
        work = _Work(q, k, v, ctx.plan)
        dy = gradient.transpose(1, 2).contiguous().view(work.shape)
        dq, dk, dv = torch.empty_like(dy), torch.zeros_like(work.k), torch.zeros_like(work.v)
        for block in ctx.plan.blocks:
            keys = slice(block.key, block.end)
            q_rows, probabilities = work.probabilities(block)
            source = work.of_block(dy, block)
            dy_rows, dq_rows, scores = work.rows(1, block), work.rows(2, block), work.scores(1, block)
            dy_rows.view(source.shape).copy_(source)
            dv[block.row, :, keys].baddbmm_(probabilities.transpose(1, 2), dy_rows)
            torch.bmm(dy_rows, work.v[block.row, :, keys].transpose(1, 2), out=scores)
            torch._softmax_backward_data(scores, probabilities, -1, scores.dtype, grad_input=scores)  # noqa: SLF001 - one pass
            torch.bmm(scores, work.k[block.row, :, keys], out=dq_rows)
            torch.mul(dq_rows.view(source.shape), work.scale, out=work.of_block(dq, block))
            dk[block.row, :, keys].baddbmm_(scores.transpose(1, 2), q_rows)
        return dq.flatten(2, 3).transpose(1, 2), dk, dv, None
