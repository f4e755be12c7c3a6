"""From logits to the next token: one `Sampler` per request, exact and without sorting the vocabulary.

Order: constraint, logit bias, repetition penalty, presence and frequency penalty (vLLM's), then temperature,
top-k, top-p, min-p (Hugging Face's), then one draw. Every filter keeps the first tokens in the order of
falling probability, equal ones by id; so a filter needs only the value at its border, and that is found among
the few tokens that can reach it. Log-probabilities are of the model's own distribution, before all of these,
as OpenAI's interface has them. NumPy rather than torch: one row is too little work to wake a second thread for.
Legend: V vocab, N tokens that a filter kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.config.param_config import SamplingConfig
from core.errors import GenerationError, ModelError
from core.inference.constraint import Constraint

# Logits divided by less overflow; the likeliest token has all the probability long before.
MIN_TEMPERATURE = 1e-4
# So many values are sorted in 30 microseconds; and no more tokens can have a probability of 1 in so many.
MAX_SORTED = 4096
DRAW_BLOCK = 1024
# Below this share of the vocabulary the allowed tokens are gathered, and the others cost nothing more.
FEW = 1 / 16

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token. Log-probabilities are natural, of the model's distribution before filters and temperature."""

    token: int
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()


class Sampler:
    """Chooses the tokens of one answer. It owns the draws, the counts of seen tokens and the constraint's state."""

    def __init__(
        self,
        sampling: SamplingConfig,
        prompt_ids: Sequence[int],
        *,
        vocab_size: int,
        constraint: Constraint | None = None,
    ) -> None:
        """Raises GenerationError when logit_bias or stop_ids name an id that the model does not have."""
        self._sampling, self._constraint = sampling, constraint
        self._draws = np.random.default_rng(sampling.seed)
        self._bias_ids, self._bias = _bias(sampling.logit_bias)
        _check_ids([*self._bias_ids.tolist(), *sampling.stop_ids], vocab_size)
        has_penalty = (
            sampling.repetition_penalty != 1 or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
        )
        self._seen = _SeenTokens(prompt_ids) if has_penalty else None
        self._changes_scores = has_penalty or constraint is not None or len(self._bias) > 0
        self._scores: Floats = np.empty(vocab_size if self._changes_scores else 0, np.float32)
        self._weights: Floats = np.empty(vocab_size, np.float32)

    @torch.inference_mode()
    def next(self, logits: Tensor) -> Choice:
        """Choose a token from fp32 logits (V,) on the CPU and record it as seen; they are left unchanged.

        Raises: ModelError when a logit is not a number, GenerationError when the constraint leaves no token.
        """
        raw: Floats = logits.numpy()
        with np.errstate(all="ignore"):
            if not math.isfinite(raw.max()):
                raise _damaged(raw)
            scores = self._changed(raw) if self._changes_scores else raw
            token = self._choose(scores)
            choice = self._with_logprobs(raw, token)
        if self._seen is not None:
            self._seen.record(token)
        if self._constraint is not None:
            self._constraint.advance(token)
        return choice

    def _changed(self, raw: Floats) -> Floats:
        """A copy of the logits with constraint, bias and penalties."""
        scores, sampling = self._scores, self._sampling
        np.copyto(scores, raw)
        if self._constraint is not None:
            self._constraint.mask(scores)
            if scores.max() == -np.inf:
                raise GenerationError(
                    "The model gives no probability to any token that the output format allows.",
                    "Simplify json_schema or take another model.",
                )
        scores[self._bias_ids] += self._bias
        if self._seen is not None:
            ids, counts = self._seen.ids, self._seen.counts
            seen = scores[ids]
            # Keskar et al. 2019, for prompt and answer; then OpenAI's two, which count the answer alone.
            seen = np.where(seen > 0, seen / sampling.repetition_penalty, seen * sampling.repetition_penalty)
            scores[ids] = seen - sampling.presence_penalty * (counts > 0) - sampling.frequency_penalty * counts
        return scores

    def _choose(self, scores: Floats) -> int:
        sampling = self._sampling
        if sampling.temperature < MIN_TEMPERATURE:
            return int(scores.argmax())
        ids = self._few_allowed(scores)
        scores = scores if ids is None else scores[ids]
        if 0 < sampling.top_k < len(scores):
            kept = top_ids(scores, sampling.top_k)
            scores, ids = scores[kept], kept if ids is None else ids[kept]
        weights = self._softmax(scores)
        if sampling.top_p < 1:
            kept = nucleus(weights, sampling.top_p)
            weights, ids = weights[kept], kept if ids is None else ids[kept]
        if sampling.min_p > 0:
            kept = np.flatnonzero(weights >= sampling.min_p * weights.max())
            weights, ids = weights[kept], kept if ids is None else ids[kept]
        place = draw(weights, self._draws.random())
        return place if ids is None else int(ids[place])

    def _few_allowed(self, scores: Floats) -> Ids | None:
        """The tokens that the constraint leaves, if they are so few that the others are worth leaving behind."""
        if self._constraint is None:
            return None
        ids = np.flatnonzero(scores > -np.inf)
        return ids if len(ids) <= FEW * len(scores) else None

    def _softmax(self, scores: Floats, *, temperature: float | None = None) -> Floats:
        """Probabilities (N,) in memory that the next call overwrites; torch's exp is the faster one."""
        weights = self._weights[: len(scores)]
        np.multiply(scores, np.float32(1 / (temperature or self._sampling.temperature)), out=weights)
        values = torch.from_numpy(weights)
        torch.softmax(values, dim=0, out=values)
        return weights

    def _with_logprobs(self, raw: Floats, token: int) -> Choice:
        if self._sampling.logprobs is None:
            return Choice(token)
        top = int(raw.argmax())
        log_top = math.log(self._softmax(raw, temperature=1.0)[top])  # the others by their distance: they may underflow

        def logprob(token_id: int) -> float:
            return float(raw[token_id]) - float(raw[top]) + log_top

        likeliest = top_ids(raw, self._sampling.logprobs).tolist() if self._sampling.logprobs else []
        ranked = ((token_id, logprob(token_id)) for token_id in likeliest)
        return Choice(token, logprob(token), tuple(pair for pair in ranked if pair[1] > -math.inf))


def top_ids(scores: Floats, count: int) -> Ids:
    """Ids of the `count` highest of (V,) scores, highest first, equal ones by id."""
    if count >= len(scores):
        return np.argsort(-scores, kind="stable")
    border = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > border)
    equal = np.flatnonzero(scores == border)[: count - len(above)]
    return np.concatenate([above[np.argsort(-scores[above], kind="stable")], equal])


def nucleus(probabilities: Floats, top_p: float) -> Ids:
    """Places of the smallest set of likeliest tokens whose total reaches top_p (Holtzman et al. 2019), in order.

    At least one stays. Most often the few tokens above a floor reach it, and the others are not looked at.
    """
    likely = np.flatnonzero(probabilities >= 1 / MAX_SORTED)
    values = probabilities[likely]
    if len(likely) and values.sum(dtype=np.float64) >= top_p:
        return likely[_smallest_set(values, top_p)]
    return _smallest_set(probabilities, top_p)


def _smallest_set(values: Floats, total: float) -> Ids:
    """Places, in order, of the fewest values that reach a total; of equal ones the later go.

    The border is searched for as quickselect does it: the half that it is in is halved again.
    """
    count, part = 0, values
    while len(part) > MAX_SORTED:
        half = len(part) // 2
        part = np.partition(part, half)
        mass = part[half:].sum(dtype=np.float64)
        if mass >= total:
            part = part[half:]
        else:
            total, count, part = total - mass, count + len(part) - half, part[:half]
    falling = np.sort(part)[::-1]
    place = min(int(np.searchsorted(np.cumsum(falling, dtype=np.float64), total)), len(part) - 1)
    places = np.flatnonzero(values >= falling[place])
    surplus = len(places) - (count + place + 1)
    return np.delete(places, np.flatnonzero(values[places] == falling[place])[-surplus:]) if surplus else places


def draw(weights: Floats, uniform: float) -> int:
    """The place that a uniform number in [0, 1) falls on when the (N,) weights lie end to end."""
    if len(weights) <= DRAW_BLOCK:
        totals = np.cumsum(weights, dtype=np.float64)
        return _place(totals, uniform * totals[-1])
    sums = np.add.reduceat(weights, np.arange(0, len(weights), DRAW_BLOCK))
    totals = np.cumsum(sums, dtype=np.float64)
    target = uniform * totals[-1]
    block = _place(totals, target)
    begin = block * DRAW_BLOCK
    inside = np.cumsum(weights[begin : begin + DRAW_BLOCK], dtype=np.float64)
    return begin + _place(inside, target - totals[block] + sums[block])


def _place(totals: NDArray[np.float64], target: float) -> int:
    """The first place whose running total is above the target; by rounding none may be, and the last weight has it."""
    return int(min(np.searchsorted(totals, target, side="right"), np.searchsorted(totals, totals[-1])))


class _SeenTokens:
    """The distinct tokens of prompt and answer, and how often each is in the answer; arrays that grow by doubling."""

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        distinct = list(dict.fromkeys(prompt_ids))
        self._places = {token: place for place, token in enumerate(distinct)}
        self._ids: Ids = np.zeros(2 * len(distinct) + 64, np.int64)
        self._ids[: len(distinct)] = distinct
        self._counts: Ids = np.zeros_like(self._ids)

    @property
    def ids(self) -> Ids:
        return self._ids[: len(self._places)]

    @property
    def counts(self) -> Ids:
        return self._counts[: len(self._places)]

    def record(self, token: int) -> None:
        place = self._places.setdefault(token, len(self._places))
        if place == len(self._ids):
            self._ids, self._counts = (np.concatenate([old, np.zeros_like(old)]) for old in (self._ids, self._counts))
        self._ids[place] = token
        self._counts[place] += 1


def _bias(logit_bias: Mapping[str, float]) -> tuple[Ids, Floats]:
    ids = np.array([int(token) for token in logit_bias], np.int64)
    return ids, np.array(list(logit_bias.values()), np.float32)


def _check_ids(ids: Sequence[int], vocab_size: int) -> None:
    bad = [token for token in ids if token >= vocab_size]
    if bad:
        raise GenerationError(
            "logit_bias or stop_ids name id {found}, the model has ids 0 … {last}.",
            "Use ids of the model's own tokenizer.",
            found=bad[0],
            last=vocab_size - 1,
        )


def _damaged(raw: Floats) -> ModelError:
    return ModelError(
        "{bad} of the model's {count} logits are not finite: its weights are damaged.",
        "Download the model again, or go back to an earlier checkpoint.",
        bad=int((~np.isfinite(raw)).sum()),
        count=len(raw),
    )
