"""Losses and estimators of reinforcement learning from rewards, as pure functions of tensors.

Tokens of all completions lie flat behind each other; `sequence` says which completion a token is of.
Log-probabilities are natural; `old` ones are those of the policy that drew the tokens.
Legend: N tokens of completions, S completions, P prompts, G completions of one prompt, T time.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Below these a spread is of rounding alone (TRL's values).
GROUP_STD_FLOOR = 1e-4
VARIANCE_FLOOR = 1e-8


def gae(rewards: Tensor, values: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Advantages (S, T): Aₜ = δₜ + γλ Aₜ₊₁ with δₜ = rₜ + γ Vₜ₊₁ - Vₜ, and nothing after the end.

    rewards and values (S, T) are filled up with zeros on the right, so the end of each completion is where they
    begin. What the value model is to learn is advantages + values. Source: Schulman et al. 2016, eq. 16.
    """
    following = torch.cat((values[:, 1:], torch.zeros_like(values[:, :1])), dim=1)
    deltas = rewards + gamma * following - values
    advantages = torch.empty_like(deltas)
    after = torch.zeros_like(deltas[:, 0])
    for time in reversed(range(deltas.shape[1])):
        after = deltas[:, time] + gamma * lam * after
        advantages[:, time] = after
    return advantages


def whiten(values: Tensor, sum_: Callable[[Tensor], Tensor] = lambda total: total) -> Tensor:
    """values (N,) shifted and scaled to mean 0 and (unbiased) variance 1; `sum_` adds up over ranks."""
    count, total = sum_(torch.stack((torch.ones_like(values).sum(), values.sum())))
    centred = values - total / count
    (squares,) = sum_(centred.square().sum()[None])
    variance = squares / (count - 1).clamp_min(1)
    return centred * (variance + VARIANCE_FLOOR).rsqrt()


def group_advantages(rewards: Tensor, *, scale: bool) -> Tensor:
    """How much better a completion is than the others of its prompt, rewards (P, G) -> (P, G).

    With `scale` in standard deviations of the group (Shao et al. 2024), else as it is (Dr. GRPO, Liu et al. 2025).
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True) + GROUP_STD_FLOOR) if scale else centred


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """log π/π_ref of each token: the KL divergence when averaged over draws of π, with either sign (Schulman 2020)."""
    return logprobs - reference


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """r - 1 - log r with r = π_ref/π: the same mean as k1, never negative and with less noise (Schulman 2020)."""
    log_ratio = reference - logprobs
    return log_ratio.expm1() - log_ratio


def clipped_policy_loss(log_ratio: Tensor, advantages: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """-min(r A, clip(r, 1 ± clip_range) A) of each term, and where the clipped one was taken, both (N,).

    log_ratio (N,) is logprobs - old. Source: Schulman et al. 2017, eq. 7.
    """
    ratio = log_ratio.exp()
    plain, clipped = ratio * advantages, ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    return -torch.minimum(plain, clipped), clipped < plain


def sequence_log_ratio(log_ratio: Tensor, sequence: Tensor, num_sequences: int) -> Tensor:
    """Each token's log_ratio (N,) replaced by the mean over its completion (GSPO, Zheng et al. 2025, eq. 7)."""
    lengths = torch.bincount(sequence, minlength=num_sequences)
    sums = log_ratio.new_zeros(num_sequences).index_add(0, sequence, log_ratio)
    return (sums / lengths.clamp_min(1))[sequence]


def cispo_loss(log_ratio: Tensor, logprobs: Tensor, advantages: Tensor, highest: float) -> tuple[Tensor, Tensor]:
    """-min(r, highest) A log π with the ratio as a constant, and where it was cut, both (N,).

    No token loses its gradient, as it does by clipping. Source: MiniMax-M1 2025, eq. 4.
    """
    ratio = log_ratio.detach().exp()
    return -ratio.clamp_max(highest) * advantages * logprobs, ratio > highest


def clipped_value_loss(values: Tensor, old: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """½ max((V - R)², (V_clip - R)²) of each token (N,), V_clip within clip_range of the old value."""
    clipped = old + (values - old).clamp(-clip_range, clip_range)
    return 0.5 * torch.maximum((values - returns).square(), (clipped - returns).square())


def aggregate(
    terms: Tensor, sequence: Tensor, num_sequences: int, *, kind: str, max_new_tokens: int
) -> tuple[Tensor, int]:
    """The sum of token terms (N,) and what to divide it by.

    grpo: every completion counts alike (the mean of its tokens). bnpo: every token does (DAPO, Yu et al. 2025).
    dr_grpo: every token, over the most tokens there could be, so that long completions are not favoured.
    """
    if kind == "grpo":
        lengths = torch.bincount(sequence, minlength=num_sequences)
        return (terms / lengths[sequence]).sum(), num_sequences
    return terms.sum(), len(terms) if kind == "bnpo" else num_sequences * max_new_tokens


def explained_variance(values: Tensor, returns: Tensor) -> Tensor:
    """1 - Var(R - V) / Var(R): 1 for a perfect value model, 0 for one that knows the mean alone; a scalar."""
    return 1 - (returns - values).var(correction=0) / returns.var(correction=0).clamp_min(VARIANCE_FLOOR)
