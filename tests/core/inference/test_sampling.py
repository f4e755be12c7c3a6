"""Sampling: values by hand, and the plain definitions as the oracle of the fast ones."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.config.param_config import SamplingConfig
from core.errors import ConfigError, GenerationError, ModelError
from core.inference.sampling import Choice, Sampler, draw, nucleus, top_ids

LOGITS = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.1]))
PLAIN = {"temperature": 1.0, "top_p": 1.0, "seed": 0}
# The 99.9 % points of the chi-square distribution for 1 … 7 degrees of freedom.
CHI_SQUARE = (10.828, 13.816, 16.266, 18.467, 20.515, 22.458, 24.322)


def plain_probabilities(logits: NDArray[np.float64], sampling: SamplingConfig) -> NDArray[np.float64]:
    """Temperature, top-k, top-p and min-p (V,) as their definitions say, on a sorted vocabulary in double precision."""
    scores = logits / sampling.temperature
    order = np.argsort(-scores, kind="stable")
    weights = np.exp(scores[order] - scores.max())
    weights[sampling.top_k or len(weights) :] = 0
    weights /= weights.sum()
    before = np.cumsum(weights) - weights
    weights[1:][before[1:] >= sampling.top_p if sampling.top_p < 1 else before[1:] > 2] = 0
    weights[weights < sampling.min_p * weights.max()] = 0
    probabilities = np.zeros_like(weights)
    probabilities[order] = weights / weights.sum()
    return probabilities


def drawn(logits: torch.Tensor, count: int, **values: float | dict[str, float]) -> list[int]:
    """Tokens of `count` independent first draws."""
    sampler = Sampler(SamplingConfig.from_dict({**PLAIN, **values}), [], vocab_size=len(logits))
    return [sampler.next(logits).token for _ in range(count)]


def kept(**values: float) -> set[int]:
    return set(drawn(LOGITS, 400, **values))


def chi_square(tokens: list[int], probabilities: NDArray[np.float64]) -> tuple[float, int]:
    """The statistic and its degrees of freedom; a token of no probability makes it infinite."""
    counts = np.bincount(tokens, minlength=len(probabilities))
    possible = probabilities > 0
    expected = probabilities[possible] * len(tokens)
    lost = math.inf if counts[~possible].any() else 0.0
    return float(((counts[possible] - expected) ** 2 / expected).sum()) + lost, int(possible.sum()) - 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, [0.5, 0.25, 0.15, 0.1]),
        ({"temperature": 0.5}, [0.25 / 0.345, 0.0625 / 0.345, 0.0225 / 0.345, 0.01 / 0.345]),
        ({"top_k": 2}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.74}, [2 / 3, 1 / 3, 0, 0]),
        ({"top_p": 0.76}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"min_p": 0.29}, [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0]),
        ({"logit_bias": {"3": math.log(5)}}, [0.5 / 1.4, 0.25 / 1.4, 0.15 / 1.4, 0.5 / 1.4]),
    ],
)
def test_frequencies_are_those_worked_out_by_hand(values: dict[str, float], expected: list[float]) -> None:
    statistic, freedom = chi_square(drawn(LOGITS, 6000, **values), np.array(expected))
    assert statistic < CHI_SQUARE[freedom - 1]


@settings(max_examples=25, deadline=None)
@given(
    logits=st.lists(st.integers(-100, 100).map(lambda step: step / 16), min_size=2, max_size=8),
    temperature=st.floats(0.3, 3),
    top_k=st.integers(0, 8),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.9),
)
def test_frequencies_are_those_of_the_plain_definition(
    logits: list[float], temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    values = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    expected = plain_probabilities(np.array(logits), SamplingConfig.from_dict(values))
    nearby = [{**values, "top_p": min(top_p + step, 1), "min_p": max(min_p + step, 0)} for step in (-1e-5, 1e-5)]
    for other in nearby:  # a border within rounding may fall on either side
        assume(((plain_probabilities(np.array(logits), SamplingConfig.from_dict(other)) > 0) == (expected > 0)).all())
    likely = expected[expected > 0]
    assume(len(likely) < 2 or likely.min() > 0.006)  # below, the chi-square distribution is not the statistic's
    statistic, freedom = chi_square(drawn(torch.tensor(logits), 1000, **values), expected)
    assert statistic <= CHI_SQUARE[max(freedom, 1) - 1] * 1.6


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 9000), spread=st.floats(0, 9), top_p=st.floats(0, 0.999))
def test_the_nucleus_is_that_of_a_sorted_vocabulary(seed: int, size: int, spread: float, top_p: float) -> None:
    scores = np.random.default_rng(seed).normal(size=size) * spread
    probabilities = np.exp(scores - scores.max()).astype(np.float32)
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    before = np.cumsum(probabilities[order], dtype=np.float64) - probabilities[order]
    before[0] = -1
    assume(np.abs(before - top_p).min() > 1e-9)
    assert nucleus(probabilities, top_p).tolist() == sorted(order[before < top_p].tolist())


@pytest.mark.parametrize("spread", [0.0, 0.001, 0.1, 1.0, 4.0])
def test_the_nucleus_of_a_large_vocabulary_is_that_of_a_sorted_one(spread: float) -> None:
    scores = np.random.default_rng(1).normal(size=152_064) * spread
    probabilities = (np.exp(scores) / np.exp(scores).sum()).astype(np.float32)
    order = np.argsort(-probabilities, kind="stable")
    count = int(np.searchsorted(np.cumsum(probabilities[order], dtype=np.float64), 0.95)) + 1
    assert nucleus(probabilities, 0.95).tolist() == sorted(order[:count].tolist())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([-math.inf, -2.0, 0.0, 0.5, 3.0]), min_size=1, max_size=40), st.integers(1, 45))
def test_the_highest_ids_are_those_of_a_stable_sort(scores: list[float], count: int) -> None:
    values = np.array(scores, np.float32)
    assert top_ids(values, count).tolist() == np.argsort(-values, kind="stable")[:count].tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=3000), st.floats(0, 1, exclude_max=True))
def test_a_draw_falls_where_the_running_total_passes_it(weights: list[float], uniform: float) -> None:
    assume(sum(weights) > 0)
    totals = np.cumsum(weights)
    place = draw(np.array(weights, np.float32), uniform)
    assert weights[place] > 0
    assert totals[place] - weights[place] <= uniform * totals[-1] <= totals[place]


def test_the_last_draw_below_one_is_a_token_of_some_probability() -> None:
    last = math.nextafter(1, 0)
    assert draw(np.array([0, 0.1, 0.7, 0, 0], np.float32), last) == 2
    assert draw(np.array([0.1] * 3000 + [0.0] * 3000, np.float32), last) == 2999


@pytest.mark.parametrize(("top_p", "count"), [(0.0, 1), (0.49, 1), (0.51, 2), (0.74, 2), (0.76, 3), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, count: int) -> None:
    assert kept(top_p=top_p) == set(range(count))


@pytest.mark.parametrize(
    ("top_k", "tied_ids"), [(1, {1}), (2, {1, 2}), (3, {1, 2, 3})]
)  # of equal ones the first by id stay
def test_equal_tokens_are_kept_by_id(top_k: int, tied_ids: set[int]) -> None:
    logits = torch.tensor([0.0, 1.0, 1.0, 1.0])
    assert set(drawn(logits, 200, top_k=top_k)) == tied_ids
    assert nucleus(np.array([0.1, 0.3, 0.3, 0.3], np.float32), 0.3 * top_k - 0.01).tolist() == sorted(tied_ids)


def test_filters_apply_in_the_order_top_k_top_p_min_p() -> None:
    """top-k leaves .5 .25 .15 of .9; the nucleus of 0.6 takes two of them; min-p 0.6 then drops the second."""
    assert kept(top_k=3, top_p=0.6) == {0, 1}
    assert kept(top_k=3, top_p=0.6, min_p=0.6) == {0}


def test_temperature_comes_before_the_filters() -> None:
    assert kept(temperature=0.5, min_p=0.3) == {0}
    assert kept(temperature=0.5, top_p=0.72) == {0}


def test_same_seed_gives_the_same_draws_and_another_gives_others() -> None:
    assert drawn(LOGITS, 50, seed=7) == drawn(LOGITS, 50, seed=7)
    assert drawn(LOGITS, 50, seed=7) != drawn(LOGITS, 50, seed=8)
    assert drawn(LOGITS, 5, seed=2**63 - 1)


def test_every_token_takes_one_draw_whatever_filters_it() -> None:
    """So the draws after it are the same: a token that was certain does not shift them."""
    certain = torch.tensor([9.0, -math.inf, -math.inf, -math.inf])
    for values in ({}, {"top_k": 2}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.3}):
        samplers = [Sampler(SamplingConfig.from_dict({**PLAIN, **values}), [], vocab_size=4) for _ in range(2)]
        first, second = (
            [sampler.next(row) for row in rows]
            for sampler, rows in zip(
                samplers, ([certain, LOGITS, LOGITS], [certain.clone(), LOGITS.clone(), LOGITS]), strict=True
            )
        )
        assert first == second
        assert samplers[0]._draws.random() == np.random.default_rng(0).random(4)[3]


def test_greedy_takes_the_likeliest_and_of_equal_ones_the_first_without_a_draw() -> None:
    sampler = Sampler(SamplingConfig(temperature=0, seed=3), [], vocab_size=4)
    assert [sampler.next(torch.tensor([1.0, 2.0, 2.0, 0.0])).token for _ in range(5)] == [1] * 5
    assert sampler._draws.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-40, 1e-5])
def test_next_to_no_temperature_takes_the_likeliest_token(temperature: float) -> None:
    assert drawn(torch.tensor([1.0, 3.0, 2.0]), 1, temperature=temperature) == [1]


def greedy(sampling: SamplingConfig, prompt: list[int], rows: list[list[float]]) -> list[int]:
    sampler = Sampler(sampling, prompt, vocab_size=len(rows[0]))
    return [sampler.next(torch.tensor(row)).token for row in rows]


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits_of_seen_tokens() -> None:
    config = SamplingConfig(temperature=0, repetition_penalty=2)
    assert greedy(config, [0], [[2.0, 1.1]]) == [1]
    assert greedy(config, [0], [[2.0, 0.9]]) == [0]
    assert greedy(config, [0], [[-1.0, -1.9]]) == [1]
    assert greedy(config, [0], [[-1.0, -2.1]]) == [0]
    assert greedy(config, [], [[2.0, 1.1], [2.0, 1.1]]) == [0, 1]


def test_presence_penalty_counts_a_token_of_the_answer_once_and_none_of_the_prompt() -> None:
    config = SamplingConfig(temperature=0, presence_penalty=1)
    rows = [[2.0, 1.5, 0.0]] * 4
    assert greedy(config, [0, 0], rows) == [0, 1, 0, 0]


def test_frequency_penalty_counts_every_time_in_the_answer_and_none_in_the_prompt() -> None:
    config = SamplingConfig(temperature=0, frequency_penalty=0.6)
    rows = [[2.0, 1.5, 0.0]] * 6  # 2, 1.4 … against 1.5, 0.9 …
    assert greedy(config, [0, 0], rows) == [0, 1, 0, 1, 0, 1]


def test_negative_penalties_draw_towards_what_was_said() -> None:
    assert greedy(SamplingConfig(temperature=0, presence_penalty=-1), [1], [[0.0, 1.0], [1.5, 1.0], [1.5, 1.0]]) == [
        1,
        1,
        1,
    ]


def test_penalties_add_up_in_their_order() -> None:
    """Bias 1 lifts 3 to 4, halved to 2 for being seen, less 0.5 and 2 × 0.25 for two times in the answer: 1."""
    config = SamplingConfig(
        temperature=0, repetition_penalty=2, presence_penalty=0.5, frequency_penalty=0.25, logit_bias={"0": 1.0}
    )
    first = [[9.0, 0.0, -9.0]] * 2
    assert greedy(config, [0, 1], [*first, [3.0, -9.0, 0.99]])[-1] == 0
    assert greedy(config, [0, 1], [*first, [3.0, -9.0, 1.01]])[-1] == 2


@settings(max_examples=30, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 299), max_size=50),
    seed=st.integers(0, 1000),
    repetition=st.floats(0.5, 2),
    presence=st.floats(-2, 2),
    frequency=st.floats(-2, 2),
    bias=st.dictionaries(st.integers(0, 299), st.floats(-100, 100), max_size=10),
)
def test_penalties_are_those_of_the_plain_definition(
    prompt: list[int], seed: int, repetition: float, presence: float, frequency: float, bias: dict[int, float]
) -> None:
    config = SamplingConfig(
        temperature=0,
        repetition_penalty=repetition,
        presence_penalty=presence,
        frequency_penalty=frequency,
        logit_bias={str(token): value for token, value in bias.items()},
    )
    sampler = Sampler(config, prompt, vocab_size=300)
    answer: list[int] = []
    biases = np.array([bias.get(token, 0.0) for token in range(300)])
    for row in torch.randn(80, 300, generator=torch.Generator().manual_seed(seed)):
        counts = np.bincount(answer, minlength=300)
        seen = (counts + np.bincount(prompt, minlength=300)) > 0
        scores = row.numpy() + biases
        scores = np.where(seen & (scores > 0), scores / repetition, np.where(seen, scores * repetition, scores))
        scores -= presence * (counts > 0) + frequency * counts
        token = sampler.next(row).token
        assert scores[token] >= scores.max() - 1e-4
        answer.append(token)


def test_a_bias_of_a_hundred_decides_and_of_minus_a_hundred_forbids() -> None:
    assert set(drawn(LOGITS, 100, logit_bias={"3": 100})) == {3}
    assert set(drawn(LOGITS, 300, logit_bias={"0": -100})) == {1, 2, 3}


def test_logprobs_are_of_the_model_before_bias_penalty_and_temperature() -> None:
    config = SamplingConfig(temperature=0, logprobs=2, logit_bias={"3": 50.0}, repetition_penalty=2)
    choice = Sampler(config, [0], vocab_size=4).next(LOGITS + 5)
    assert choice.token == 3
    assert choice.logprob == pytest.approx(math.log(0.1), abs=1e-5)
    assert [token for token, _ in choice.top_logprobs] == [0, 1]
    assert [value for _, value in choice.top_logprobs] == pytest.approx([math.log(0.5), math.log(0.25)], abs=1e-5)


def test_logprobs_are_given_as_they_are_asked_for() -> None:
    choices = [
        Sampler(SamplingConfig(temperature=0, logprobs=count), [], vocab_size=4).next(LOGITS) for count in (None, 0, 20)
    ]
    assert choices[0] == Choice(0)
    assert choices[1].logprob == pytest.approx(math.log(0.5))
    assert choices[1].top_logprobs == ()
    assert [token for token, _ in choices[2].top_logprobs] == [0, 1, 2, 3]


def test_logprobs_of_next_to_impossible_tokens_are_finite_and_of_impossible_ones_absent() -> None:
    config = SamplingConfig(temperature=0, logprobs=20, logit_bias={"1": 100.0})
    choice = Sampler(config, [], vocab_size=3).next(torch.tensor([300.0, 250.0, -math.inf]))
    assert choice.token == 1
    assert choice.logprob == pytest.approx(-50)
    assert choice.top_logprobs == ((0, pytest.approx(0)), (1, pytest.approx(-50)))


def test_the_logits_are_left_as_they_were() -> None:
    config = SamplingConfig(repetition_penalty=1.3, logit_bias={"0": 5.0}, logprobs=2, top_k=2)
    logits = LOGITS.clone()
    Sampler(config, [0, 1], vocab_size=4).next(logits)
    assert torch.equal(logits, LOGITS)


def test_ids_that_the_model_does_not_have_are_refused() -> None:
    for config in (SamplingConfig(logit_bias={"4": 1.0}), SamplingConfig(stop_ids=[4])):
        with pytest.raises(GenerationError, match="name id 4, the model has ids 0 … 3"):
            Sampler(config, [], vocab_size=4)


def test_logits_that_are_not_numbers_are_counted_and_named() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(ModelError, match="2 of the model's 4 logits are not finite"):
            drawn(torch.tensor([1.0, bad, 2.0, bad]), 1)
    with pytest.raises(ModelError, match="3 of the model's 3 logits"):
        drawn(torch.full((3,), -math.inf), 1)


def test_a_masked_out_logit_is_no_fault() -> None:
    for values in ({}, {"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 2.0}):
        assert set(drawn(torch.tensor([-math.inf, 1.0, -math.inf, -math.inf]), 50, **values)) == {1}


def test_a_vocabulary_beyond_one_block_is_drawn_evenly() -> None:
    tokens = drawn(torch.zeros(5000), 4000)
    statistic, freedom = chi_square([token // 1000 for token in tokens], np.full(5, 0.2))
    assert statistic < CHI_SQUARE[freedom - 1]
    assert max(Counter(tokens).values()) < 15


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"presence_penalty": 2.1}, "presence_penalty is 2.1, the maximum is 2"),
        ({"frequency_penalty": -3}, "frequency_penalty is -3, the minimum is -2"),
        ({"logprobs": 21}, "logprobs is 21, the maximum is 20"),
        ({"logit_bias": {"1": 101}}, "logit_bias of 1 is 101, it must be in -100 … 100"),
        ({"logit_bias": {"1": math.nan}}, "logit_bias of 1 is nan"),
        ({"logit_bias": {"1": True}}, "logit_bias of 1 is True"),
        ({"logit_bias": {"-1": 1}}, "logit_bias names '-1', its keys must be token ids as strings of digits"),
        ({"logit_bias": {"01": 1}}, "logit_bias names '01'"),
        ({"logit_bias": {7: 1}}, "logit_bias names 7"),
        ({"logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias has 1025 entries, the maximum is 1024"),
        ({"stop": [""]}, "stop holds '', it must hold strings of 1 … 256 characters"),
        ({"stop": ["x" * 257]}, "it must hold strings of 1 … 256 characters"),
        ({"stop": ["x"] * 17}, "stop has 17 entries, the maximum is 16"),
        ({"stop_ids": [-1]}, "stop_ids holds -1, it must hold token ids"),
        ({"stop_ids": ["1"]}, "stop_ids holds '1', it must hold token ids"),
        ({"json_schema": "object"}, "json_schema is 'object', it must be dict"),
    ],
)
def test_options_out_of_bounds_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SamplingConfig.from_dict(values)
