"""Losses as pure functions of tensors. Legend: N tokens, C hidden, V vocab."""

from typing import Any

import torch
from torch import Tensor

from core.data.dataset import IGNORED

CHUNK_TOKENS = 1024


def cross_entropy_sum(hidden: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Sum over tokens of -log softmax(hidden headᵀ)[label] in nats, without holding all logits.

    hidden (N, C), head (V, C), labels (N,) with IGNORED where no loss is taken. The logits exist for
    CHUNK_TOKENS tokens at a time; their gradient is taken in the same pass, so nothing is recomputed.
    """
    kept = labels != IGNORED
    if not bool(kept.all()):
        hidden, labels = hidden[kept], labels[kept]
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, head, labels, torch.is_grad_enabled()
    )
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, labels: Tensor, needs_grad: bool) -> Tensor:
        device = hidden.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        weight, states = head.to(compute), hidden.to(compute)
        hidden_grad = torch.empty_like(states) if needs_grad else None
        head_grad = torch.zeros_like(head) if needs_grad and ctx.needs_input_grad[1] else None
        total = hidden.new_zeros((), dtype=torch.promote_types(compute, torch.float32))
        buffer = states.new_empty(min(CHUNK_TOKENS, len(labels)), len(head))
        with torch.autocast(device, enabled=False):
            for start in range(0, len(labels), CHUNK_TOKENS):
                part = slice(start, start + CHUNK_TOKENS)
                out = buffer[: len(labels) - start]
                logits = torch.mm(states[part], weight.T, out=out).to(total.dtype)  # (chunk, V)
                target = labels[part, None]
                picked = logits.gather(1, target)
                maximum = logits.amax(dim=1, keepdim=True)
                normaliser = logits.sub_(maximum).exp_().sum(dim=1, keepdim=True)
                total += (normaliser.log() + maximum - picked).sum()
                if hidden_grad is not None:
                    logits /= normaliser
                    logits.scatter_add_(1, target, torch.full_like(picked, -1.0))
                    gradient = logits.to(compute)
                    hidden_grad[part] = gradient @ weight
                    if head_grad is not None and head_grad.dtype == compute:
                        head_grad.addmm_(gradient.T, states[part])
                    elif head_grad is not None:
                        head_grad += gradient.T @ states[part]
        ctx.save_for_backward(hidden_grad, head_grad)
        ctx.hidden_dtype = hidden.dtype
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden_grad, head_grad = ctx.saved_tensors
        if head_grad is not None:
            head_grad = (head_grad * upstream).to(head_grad.dtype)
        return (hidden_grad * upstream).to(ctx.hidden_dtype), head_grad, None, None
