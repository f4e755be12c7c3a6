"""Losses over pairs of a better and a worse answer, as pure functions of tensors. Each gives one value per pair.

Legend: P pairs. A log-probability is in nats and of the answer alone, never of its prompt; `sum` is over its tokens,
`mean` is per token. A log-ratio is the policy's sum minus the reference's.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def bradley_terry(chosen: Tensor, rejected: Tensor, *, margin: float = 0.0, centring: float = 0.0) -> Tensor:
    """-log σ(s_c - s_r - margin) + centring · (s_c + s_r)² of two scores (P,).

    The second term keeps the scores, which only differ by a constant otherwise, around zero.
    Sources: Bradley & Terry 1952; Touvron et al. 2023 (margin); Eisenstein et al. 2023 (centring).
    """
    return -F.logsigmoid(chosen - rejected - margin) + centring * (chosen + rejected).square()


def dpo_sigmoid(difference: Tensor, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """-(1-ε) log σ(βΔ) - ε log σ(-βΔ) of the difference Δ (P,) of the two log-ratios.

    Sources: Rafailov et al. 2023, eq. 7; Mitchell 2023 (ε, the share of pairs whose label is wrong).
    """
    logits = beta * difference
    return -(1 - label_smoothing) * F.logsigmoid(logits) - label_smoothing * F.logsigmoid(-logits)


def dpo_robust(difference: Tensor, *, beta: float, label_smoothing: float) -> Tensor:
    """(-(1-ε) log σ(βΔ) + ε log σ(-βΔ)) / (1-2ε): unbiased where a share ε of the labels is flipped.

    Source: Chowdhury et al. 2024, eq. 12.
    """
    logits = beta * difference
    clean, flipped = F.logsigmoid(logits), F.logsigmoid(-logits)
    return (-(1 - label_smoothing) * clean + label_smoothing * flipped) / (1 - 2 * label_smoothing)


def dpo_hinge(difference: Tensor, *, beta: float) -> Tensor:
    """max(0, 1 - βΔ). Source: Zhao et al. 2023 (SLiC) with the reward of DPO."""
    return torch.relu(1 - beta * difference)


def ipo(difference: Tensor, *, beta: float) -> Tensor:
    """(Δ - 1/2β)² of the difference of the two log-ratios per token: sums would grow with an answer's length.

    Source: Azar et al. 2023, eq. 17, with the authors' averages.
    """
    return (difference - 1 / (2 * beta)).square()


def simpo(chosen: Tensor, rejected: Tensor, *, beta: float, margin: float) -> Tensor:
    """-log σ(β(c - r) - margin) of the mean log-probabilities (P,). Source: Meng et al. 2024, eq. 6."""
    return -F.logsigmoid(beta * (chosen - rejected) - margin)


def orpo(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """-c - β log σ(log odds(c) - log odds(r)) of the mean log-probabilities (P,). Source: Hong et al. 2024, eq. 6."""
    return -chosen - beta * F.logsigmoid(log_odds_ratio(chosen, rejected))


def log_odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    """log of (p_c / (1 - p_c)) / (p_r / (1 - p_r)) with p = exp(mean log-probability)."""
    return (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))


def kto(
    chosen: Tensor,
    rejected: Tensor,
    kl: Tensor,
    *,
    beta: float,
    chosen_weight: float = 1.0,
    rejected_weight: float = 1.0,
) -> Tensor:
    """w_c (1 - σ(β(l_c - kl))) + w_r (1 - σ(β(kl - l_r))) of the log-ratios (P,): two terms per pair.

    kl () is the reference point, without gradient: the mean log-ratio of answers to other prompts, at least 0.
    Source: Ethayarajh et al. 2024, eq. 8.
    """
    good = chosen_weight * torch.sigmoid(beta * (kl - chosen))
    bad = rejected_weight * torch.sigmoid(beta * (rejected - kl))
    return good + bad


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact near 0 and far from it. Source: Mächler 2012, which branches at -ln 2."""
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    is_near = x > -math.log(2)
    # Each branch sees only values that it can take: the gradient of an unused infinity would be no number.
    near = torch.log(-torch.expm1(torch.where(is_near, x, -math.log(2))))
    far = torch.log1p(-torch.exp(torch.where(is_near, -math.log(2), x)))
    return torch.where(is_near, near, far)
