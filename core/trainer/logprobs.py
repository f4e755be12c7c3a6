"""Log-probabilities of given tokens, differentiable, without holding all logits. Legend: N tokens, C hidden, V vocab.

What reaches a token from above is not known before all of them are summed, so the backward pass makes the logits of
each chunk anew, which is one product of four, and takes both gradients from them; between the passes only N numbers
are kept. A frozen head costs no gradient of its own.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK_TOKENS = 256


def token_logprobs(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """log softmax(hidden headᵀ)[target] in nats, (N,), of hidden (N, C), head (V, C) and targets (N,).

    The logits exist for CHUNK_TOKENS tokens at a time; their softmax is in fp32 at least, whatever the autocast.
    """
    logprobs, _ = _Chunked.apply(hidden, head, targets, False)  # type: ignore[no-untyped-call]
    return logprobs


def logprobs_and_entropies(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`token_logprobs`, and the entropy (N,) in nats of each token's distribution, differentiable too."""
    logprobs, entropies = _Chunked.apply(hidden, head, targets, True)  # type: ignore[no-untyped-call]
    return logprobs, entropies


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, with_entropies: bool) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        ctx.compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        states, weight = hidden.to(ctx.compute), head.to(ctx.compute)
        normalisers, picked, means = (_numbers(hidden, len(targets)) for _ in range(3))  # means: of the logits
        with torch.autocast(device, enabled=False):
            for part, logits in _logits(states, weight, picked.dtype):
                picked[part] = logits.gather(1, targets[part, None]).squeeze(1)
                normalisers[part] = logits.logsumexp(1)
                if with_entropies:
                    means[part] = (logits * (logits - normalisers[part, None]).exp_()).sum(1)
        entropies = normalisers - means
        ctx.save_for_backward(hidden, head, targets, normalisers, entropies)
        ctx.with_entropies = with_entropies
        return picked - normalisers, entropies

    @staticmethod
    def backward(
        ctx: Any, upstream: Tensor, upstream_entropies: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden, head, targets, normalisers, entropies = ctx.saved_tensors
        states, weight = hidden.to(ctx.compute), head.to(ctx.compute)
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        head_grad = torch.zeros_like(head) if ctx.needs_input_grad[1] else None
        with torch.autocast(hidden.device.type, enabled=False):
            for part, logits in _logits(states, weight, normalisers.dtype):
                logits.sub_(normalisers[part, None])  # log p
                scale = -upstream[part, None]
                if ctx.with_entropies:  # dH/dz = -p (log p + H)
                    scale = scale - upstream_entropies[part, None] * (logits + entropies[part, None])
                gradient = logits.exp_().mul_(scale)
                gradient.scatter_add_(1, targets[part, None], upstream[part, None])
                gradient = gradient.to(ctx.compute)
                if hidden_grad is not None:
                    hidden_grad[part] = gradient @ weight
                if head_grad is not None:
                    _add_product(head_grad, gradient.T, states[part])
        return hidden_grad, head_grad, None, None


def _numbers(like: Tensor, count: int) -> Tensor:
    return like.new_zeros(count, dtype=torch.promote_types(like.dtype, torch.float32))


def _logits(states: Tensor, weight: Tensor, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Chunks of tokens with their logits (chunk, V), in one buffer that the next chunk overwrites."""
    buffer = states.new_empty(min(CHUNK_TOKENS, len(states)), len(weight))
    for start in range(0, len(states), CHUNK_TOKENS):
        part = slice(start, start + CHUNK_TOKENS)
        yield part, torch.mm(states[part], weight.T, out=buffer[: len(states) - start]).to(dtype)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in one step where the types are the same."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
