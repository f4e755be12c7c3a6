"""Muon: momentum whose update is orthogonalised, for the matrices inside the blocks (Jordan et al. 2024).

torch's own computes in bf16 whatever the device, which on a CPU without bf16 products takes four times
as long as the rest of the step; this one takes the precision that the device multiplies fastest.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from core.parallel.wrap import like, whole

# Coefficients of the quintic whose iteration drives singular values towards 1 (Jordan et al. 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
NUM_ITERATIONS = 5
# Makes the update's root mean square that of AdamW's, so one learning rate serves both (Moonshot 2025).
RMS_FACTOR = 0.2


class Muon(Optimizer):
    """Nesterov momentum, orthogonalised and scaled to AdamW's root mean square, with decoupled decay."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        assert closure is None, "the trainer computes the gradient before"
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        # A matrix that FSDP2 has shared out is made whole for this, on every rank.
        update = like(parameter, orthogonalised(whole(gradient.lerp(average, group["momentum"]))))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * RMS_FACTOR * max(parameter.shape) ** 0.5)


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U Vᵀ of the singular value decomposition U Σ Vᵀ of `matrix` (O, I), by Newton-Schulz steps.

    Singular values above 1/500 of the norm end between 0.68 and 1.21, which trains as well as exact ones;
    smaller ones grow up to 485-fold, and zero stays zero.
    """
    a, b, c = QUINTIC
    x = matrix.to(torch.bfloat16 if matrix.device.type == "cuda" else torch.float32)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if is_tall else x).to(matrix.dtype)
