"""Parts of a decoder block for training on a CPU, as one step over a few hundred tokens at a time.

A plain layer walks through all tokens of a batch once for each operation, and its tensors leave the cache in between.
Here a chunk of tokens goes through norm, matrices and activation before the next one comes; what is cheap is computed
again in the backward pass, gradients of weights grow in place, and a sum over several inputs needs no pass of its own.
The formulas are those of `layers`, in plain torch operations on any floating type; `can_fuse` says where they serve.

Legend: N tokens of all rows, C hidden, I inner, H query heads, K kv heads, D head dim.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Small enough to stay in the caches, large enough for efficient matrix products.
CHUNK_TOKENS = 1024


def can_fuse(x: Tensor, *linears: nn.Module) -> bool:
    """Whether these layers take the fused step: plain matrices without bias on a CPU, in fp32 or float64."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and all(type(linear) is nn.Linear and linear.bias is None for linear in linears)
    )


def norm_mlp(x: Tensor, norm: Tensor, eps: float, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """x + down(silu(gate(n)) * up(n)) with n the RMSNorm of x; x (…, C), gate and up (I, C), down (C, I)."""
    result: Tensor = _NormMLP.apply(x.flatten(0, -2), norm, eps, gate, up, down)  # type: ignore[no-untyped-call]
    return result.view(x.shape)


def norm_qkv(
    x: Tensor, norm: Tensor, eps: float, weights: tuple[Tensor, Tensor, Tensor], rotary: "Rotary"
) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries (N, H, D) and keys (N, K, D) and the values (N, K, D) of the RMSNorm of x (N, C)."""
    result: tuple[Tensor, Tensor, Tensor] = _NormQKV.apply(x, norm, eps, *weights, rotary)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Rotary:
    """The angles of all tokens: cos and sin (N, 1, D), halves repeated."""

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor, chunk: slice, *, backwards: bool = False, out: Tensor | None = None) -> Tensor:
        """Rotate the halves of x (n, H, D) by the angles of a chunk, or back by them."""
        half = x.shape[-1] // 2
        sin, sign = self.sin[chunk, :, :half], -1 if backwards else 1
        out = torch.mul(x, self.cos[chunk], out=out)
        out[..., :half].addcmul_(x[..., half:], sin, value=-sign)
        out[..., half:].addcmul_(x[..., :half], sin, value=sign)
        return out


class _Norm:
    """RMSNorm of one chunk, and its gradients."""

    def __init__(self, x: Tensor, weight: Tensor, eps: float) -> None:
        self.weight = weight
        self.inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        self.unit = x * self.inverse
        self.result = self.unit * weight

    def backward(self, gradient: Tensor, weight_gradient: Tensor) -> Tensor:
        """The gradient of x from that of the result, which is overwritten; adds that of the weight."""
        product = gradient * self.unit
        weight_gradient += product.sum(dim=0)
        along = (product @ self.weight).div_(product.shape[-1])[:, None]
        return gradient.mul_(self.weight).addcmul_(self.unit, along, value=-1).mul_(self.inverse)


def _chunks(num_tokens: int) -> Iterator[slice]:
    return (slice(first, first + CHUNK_TOKENS) for first in range(0, num_tokens, CHUNK_TOKENS))


class _NormMLP(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - autograd passes operands by place
        ctx: Any, x: Tensor, norm: Tensor, eps: float, gate: Tensor, up: Tensor, down: Tensor
    ) -> Tensor:
        gates, ups = [], []
        result = torch.empty_like(x)
        for chunk in _chunks(len(x)):
            n = _Norm(x[chunk], norm, eps).result
            gates.append(n @ gate.T)
            ups.append(n @ up.T)
            inner = F.silu(gates[-1]).mul_(ups[-1])
            torch.addmm(x[chunk], inner, down.T, out=result[chunk])
        ctx.save_for_backward(x, norm, gate, up, down, *gates, *ups)
        ctx.eps = eps
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, gate, up, down, *saved = ctx.saved_tensors
        dx, weights = torch.empty_like(x), (norm, gate, up, down)
        d_norm, d_gate, d_up, d_down = (torch.zeros_like(weight) for weight in weights)
        learns = any(ctx.needs_input_grad[3:])
        half = len(saved) // 2
        for chunk, g, u in zip(_chunks(len(x)), saved[:half], saved[half:], strict=True):
            dy = gradient[chunk]
            normed = _Norm(x[chunk], norm, ctx.eps)
            activated = F.silu(g)
            d_inner = dy @ down
            if learns:
                d_down.addmm_(dy.T, activated * u)
            du = activated.mul_(d_inner)
            dg = torch.ops.aten.silu_backward(d_inner.mul_(u), g)
            dn = (dg @ gate).addmm_(du, up)
            if learns:
                d_gate.addmm_(dg.T, normed.result)
                d_up.addmm_(du.T, normed.result)
            torch.add(dy, normed.backward(dn, d_norm), out=dx[chunk])
        return dx, d_norm, None, d_gate, d_up, d_down


class _NormQKV(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917
        ctx: Any, x: Tensor, norm: Tensor, eps: float, q: Tensor, k: Tensor, v: Tensor, rotary: Rotary
    ) -> tuple[Tensor, ...]:
        dim = rotary.cos.shape[-1]
        results = [x.new_empty(len(x), len(weight) // dim, dim) for weight in (q, k, v)]
        for chunk in _chunks(len(x)):
            n = _Norm(x[chunk], norm, eps).result
            for weight, result in zip((q, k), results, strict=False):
                rotary.turn((n @ weight.T).unflatten(-1, (-1, dim)), chunk, out=result[chunk])
            results[2][chunk] = (n @ v.T).unflatten(-1, (-1, dim))
        ctx.save_for_backward(x, norm, q, k, v)
        ctx.eps, ctx.rotary = eps, rotary
        return tuple(results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor | None, ...]:
        x, norm, *weights = ctx.saved_tensors
        dx, d_norm = torch.empty_like(x), torch.zeros_like(norm)
        gradients = [torch.zeros_like(weight) for weight in weights]
        learns = any(ctx.needs_input_grad[3:])
        for chunk in _chunks(len(x)):
            normed = _Norm(x[chunk], norm, ctx.eps)
            turned = [ctx.rotary.turn(part[chunk], chunk, backwards=True).flatten(1) for part in (dq, dk)]
            parts = *turned, dv[chunk].flatten(1)
            dn = torch.zeros_like(x[chunk])
            for part, weight, gradient in zip(parts, weights, gradients, strict=True):
                dn.addmm_(part, weight)
                if learns:
                    gradient.addmm_(part.T, normed.result)
            dx[chunk] = normed.backward(dn, d_norm)
        return dx, d_norm, None, *gradients, None
