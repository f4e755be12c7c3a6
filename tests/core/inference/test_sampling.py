"""Sampling, values by hand."""

import math

import pytest
import torch

from core.config.param_config import SamplingConfig
from core.errors import ModelError
from core.inference.sampling import filtered_probabilities, keep_nucleus, next_token, penalize

LOGITS = torch.log(torch.tensor([0.5, 0.25, 0.15, 0.1]))
NOTHING_SEEN = torch.zeros(4, dtype=torch.bool)


def probabilities(**values: float) -> list[float]:
    config = SamplingConfig.from_dict({"temperature": 1.0, "top_p": 1.0, **values})
    return filtered_probabilities(LOGITS, config).tolist()


def test_without_filters_the_softmax_stays() -> None:
    assert probabilities() == pytest.approx([0.5, 0.25, 0.15, 0.1])


def test_temperature_sharpens_by_its_power() -> None:
    squares = [0.25, 0.0625, 0.0225, 0.01]
    assert probabilities(temperature=0.5) == pytest.approx([value / sum(squares) for value in squares])


def test_top_k_keeps_the_k_likeliest() -> None:
    assert probabilities(top_k=2) == pytest.approx([2 / 3, 1 / 3, 0, 0])


@pytest.mark.parametrize(("top_p", "kept"), [(0.5, 1), (0.51, 2), (0.75, 2), (0.8, 3), (0.0, 1), (1.0, 4)])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: int) -> None:
    nucleus = keep_nucleus(torch.tensor([0.1, 0.5, 0.15, 0.25]), top_p) if top_p < 1 else torch.ones(4)
    assert int((nucleus > 0).sum()) == kept


def test_min_p_is_relative_to_the_likeliest() -> None:
    assert probabilities(min_p=0.3) == pytest.approx([0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0])


def test_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    seen = torch.tensor([True, True, False, False])
    assert penalize(torch.tensor([2.0, -2.0, 2.0, -2.0]), seen, 2.0).tolist() == [1.0, -4.0, 2.0, -2.0]


def test_temperature_zero_is_greedy_whatever_the_seed() -> None:
    config = SamplingConfig(temperature=0)
    tokens = {next_token(LOGITS, NOTHING_SEEN, config, torch.Generator().manual_seed(i)) for i in range(20)}
    assert tokens == {0}


def test_same_seed_gives_the_same_draws_and_their_frequencies_are_right() -> None:
    config = SamplingConfig(temperature=1.0, top_p=1.0)
    draws = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(7)
        draws.append([next_token(LOGITS, NOTHING_SEEN, config, generator) for _ in range(4000)])
    assert draws[0] == draws[1]
    share = draws[0].count(0) / 4000
    assert share == pytest.approx(0.5, abs=4 * math.sqrt(0.25 / 4000))


def test_filters_apply_in_the_order_top_k_top_p_min_p() -> None:
    """top-k leaves .5 .25 .15 of .9; the nucleus of 0.6 takes two of them; min-p 0.6 then drops the second."""
    assert probabilities(top_k=3, top_p=0.6) == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert probabilities(top_k=3, top_p=0.6, min_p=0.6) == pytest.approx([1, 0, 0, 0])


def test_temperature_comes_before_the_filters() -> None:
    assert probabilities(temperature=0.5, min_p=0.3) == pytest.approx([1, 0, 0, 0])


def test_greedy_minds_the_penalty_of_seen_tokens() -> None:
    seen = torch.tensor([True, False, False, False])
    config = SamplingConfig(temperature=0, repetition_penalty=1.9)
    assert next_token(LOGITS + 3.0, seen, config, torch.Generator()) == 1


def test_logits_that_are_not_numbers_are_counted_and_named() -> None:
    for bad in (math.nan, math.inf):
        logits = torch.tensor([1.0, bad, 2.0, bad])
        with pytest.raises(ModelError, match="2 of the model's 4 logits are not finite"):
            next_token(logits, NOTHING_SEEN, SamplingConfig(temperature=0), torch.Generator())


def test_a_masked_out_logit_is_no_fault() -> None:
    logits = torch.tensor([-math.inf, 1.0, -math.inf, -math.inf])
    assert next_token(logits, NOTHING_SEEN, SamplingConfig(temperature=1.0), torch.Generator()) == 1


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-40, 1e-5])
def test_next_to_no_temperature_takes_the_likeliest_token(temperature: float) -> None:
    logits = torch.tensor([1.0, 3.0, 2.0])
    sampling = SamplingConfig(temperature=temperature)
    assert next_token(logits, torch.zeros(3, dtype=torch.bool), sampling, torch.Generator()) == 1
