"""Losses as pure functions of tensors. Legend: N tokens, C hidden, V vocab."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from core.data.dataset import IGNORED

# Tokens whose logits exist at a time: few enough for a CPU's caches, enough to fill a GPU.
CHUNK_TOKENS = {"cpu": 1024, "gpu": 4096}


def cross_entropy_sum(hidden: Tensor, head: Tensor, labels: Tensor, *, compiles: bool = False) -> Tensor:
    """Sum over tokens of -log softmax(hidden headᵀ)[label] in nats, without holding all logits.

    hidden (N, C), head (V, C), labels (N,) with IGNORED where no loss is taken. The logits exist for
    CHUNK_TOKENS tokens at a time; their gradient is taken in the same pass, so nothing is recomputed.
    """
    kept = labels != IGNORED
    if not bool(kept.all()):
        hidden, labels = hidden[kept], labels[kept]
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, head, labels, torch.is_grad_enabled(), compiles
    )
    return loss


def _loss_and_gradient(logits: Tensor, target: Tensor, wide_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The loss sum of logits (n, V), which are overwritten, with target (n, 1); its gradient (n, V) by the logits."""
    wide = logits.to(wide_dtype)
    picked, maximum = wide.gather(1, target), wide.amax(dim=1, keepdim=True)
    powers = wide.sub_(maximum).exp_()
    normaliser = powers.sum(dim=1, keepdim=True)
    loss = (normaliser.log() + maximum - picked).sum()
    gradient = powers.div_(normaliser).to(logits.dtype)
    return loss, gradient.scatter_(1, target, ((picked - maximum).exp() / normaliser - 1).to(logits.dtype))


@functools.cache
def _compiled_loss_and_gradient() -> Callable[[Tensor, Tensor, torch.dtype], tuple[Tensor, Tensor]]:
    compiled: Callable[[Tensor, Tensor, torch.dtype], tuple[Tensor, Tensor]] = torch.compile(_loss_and_gradient)
    return compiled


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, needs_grad: bool, compiles: bool) -> Tensor:
        device = hidden.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        weight, states = head.to(compute), hidden.to(compute)
        hidden_grad = torch.empty_like(states) if needs_grad else None
        head_grad = torch.zeros_like(head) if needs_grad and ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=torch.promote_types(compute, torch.float32))
        size = CHUNK_TOKENS["cpu" if device == "cpu" else "gpu"]
        buffer = states.new_empty(min(size, len(labels)), len(head))
        step = _compiled_loss_and_gradient() if compiles else _loss_and_gradient
        with torch.autocast(device, enabled=False):
            for start in range(0, len(labels), size):
                part = slice(start, start + size)
                logits = torch.mm(states[part], weight.T, out=buffer[: len(labels) - start])  # (chunk, V)
                loss, gradient = step(logits, labels[part, None], total.dtype)
                total += loss
                if hidden_grad is not None:
                    hidden_grad[part] = gradient @ weight
                    if head_grad is not None and head_grad.dtype == compute:
                        head_grad.addmm_(gradient.T, states[part])
                    elif head_grad is not None:
                        head_grad += gradient.T @ states[part]
        ctx.save_for_backward(hidden_grad, head_grad)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, head_grad = ctx.saved_tensors
        if head_grad is not None:
            head_grad = (head_grad * upstream).to(head_grad.dtype)
        return (hidden_grad * upstream).to(ctx.hidden_dtype), head_grad, None, None, None
