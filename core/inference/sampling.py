"""From logits to the next token: pure functions, in Hugging Face's order.

Penalty, temperature, top-k, top-p, min-p, then one draw. Legend: V vocab.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.param_config import SamplingConfig
from core.errors import ModelError

# Logits divided by less overflow; the likeliest token has all the probability long before.
MIN_TEMPERATURE = 1e-4


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token."""

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one answer. It owns the draws and knows which tokens were seen."""

    def __init__(self, sampling: SamplingConfig, prompt_ids: Sequence[int], *, vocab_size: int) -> None:
        self._sampling, self._draws = sampling, torch.Generator()
        self._draws.seed() if sampling.seed is None else self._draws.manual_seed(sampling.seed)
        self._seen = torch.zeros(vocab_size, dtype=torch.bool)
        self._seen[list(prompt_ids)] = True

    def next(self, logits: Tensor) -> Choice:
        """Choose a token from fp32 logits (V,) on the CPU and record it as seen."""
        token = next_token(logits, self._seen, self._sampling, self._draws)
        self._seen[token] = True
        return Choice(token)


def next_token(logits: Tensor, seen: Tensor, sampling: SamplingConfig, generator: torch.Generator) -> int:
    """Choose a token from logits (V,); `seen` (V,) bool marks tokens of the prompt and the reply.

    Raises: ModelError when a logit is not a number.
    """
    logits = logits.float()
    if not torch.isfinite(logits.max()):
        bad = int((~torch.isfinite(logits)).sum())
        raise ModelError(
            f"{bad} of the model's {len(logits)} logits are not finite: its weights are damaged.",
            "Download the model again, or go back to an earlier checkpoint.",
        )
    if sampling.repetition_penalty != 1.0:
        logits = penalize(logits, seen, sampling.repetition_penalty)
    if sampling.temperature < MIN_TEMPERATURE:
        return int(logits.argmax())
    probabilities = filtered_probabilities(logits, sampling)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def penalize(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of seen tokens (Keskar et al. 2019)."""
    lowered = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(seen, lowered, logits)


def filtered_probabilities(logits: Tensor, sampling: SamplingConfig) -> Tensor:
    """Probabilities (V,) after temperature, top-k, top-p (Holtzman et al. 2019) and min-p."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        kept = torch.topk(logits, sampling.top_k).indices
        logits = torch.full_like(logits, -torch.inf).index_copy(0, kept, logits[kept])
    probabilities = torch.softmax(logits, dim=-1)
    if sampling.top_p < 1:
        probabilities = keep_nucleus(probabilities, sampling.top_p)
    if sampling.min_p > 0:
        floor = sampling.min_p * probabilities.max()
        probabilities = torch.where(probabilities >= floor, probabilities, 0.0)
    return probabilities / probabilities.sum()


def keep_nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Zero all but the smallest set of likeliest tokens whose total reaches top_p; at least one stays."""
    ordered, indices = probabilities.sort(descending=True)
    before = ordered.cumsum(dim=-1) - ordered
    ordered = torch.where(before < max(top_p, 1e-9), ordered, 0.0)
    return torch.zeros_like(probabilities).index_copy(0, indices, ordered)
