"""Chunked log-probabilities and entropies against the plain formula, with gradients."""

import math

import pytest
import torch
from torch import Tensor

from core.trainer import logprobs
from core.trainer.logprobs import logprobs_and_entropies, token_logprobs


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden (13, 6), head (11, 6), targets, and a weight for every token; three chunks."""
    monkeypatch.setattr(logprobs, "CHUNK_TOKENS", 5)
    generator = torch.Generator().manual_seed(0)
    hidden, head = (torch.randn(size, 6, dtype=torch.float64, generator=generator) for size in (13, 11))
    weights = torch.randn(13, dtype=torch.float64, generator=generator)
    return hidden, head, torch.randint(0, 11, (13,), generator=generator), weights


def leaves(hidden: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    return hidden.clone().requires_grad_(), head.clone().requires_grad_()


def plain(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logs = (hidden @ head.T).log_softmax(1)
    return logs.gather(1, targets[:, None]).squeeze(1), -(logs.exp() * logs).sum(1)


def check(found: Tensor | None, expected: Tensor | None) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_values_and_gradients_equal_the_plain_formula(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets, weights = case
    ours, theirs = leaves(hidden, head), leaves(hidden, head)
    found, expected = token_logprobs(*ours, targets), plain(*theirs, targets)[0]
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    check(found, expected)
    check(ours[0].grad, theirs[0].grad)
    check(ours[1].grad, theirs[1].grad)


def test_entropies_equal_the_plain_formula_with_gradients(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets, weights = case
    ours, theirs = leaves(hidden, head), leaves(hidden, head)
    for parts, function in ((ours, logprobs_and_entropies), (theirs, plain)):
        values, entropies = function(*parts, targets)
        (values * weights + entropies * weights.flip(0)).sum().backward()
    check(logprobs_and_entropies(*ours, targets)[1], plain(*theirs, targets)[1])
    check(ours[0].grad, theirs[0].grad)
    check(ours[1].grad, theirs[1].grad)


def test_uniform_logits_have_the_entropy_of_the_vocabulary() -> None:
    values, entropies = logprobs_and_entropies(torch.zeros(3, 4), torch.ones(8, 4), torch.tensor([0, 5, 7]))
    assert values.tolist() == pytest.approx([-math.log(8)] * 3)
    assert entropies.tolist() == pytest.approx([math.log(8)] * 3)


def test_a_frozen_head_gets_no_gradient(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets, _ = case
    ours, theirs = leaves(hidden, head), leaves(hidden, head)
    token_logprobs(ours[0], head, targets).sum().backward()
    plain(*theirs, targets)[0].sum().backward()
    check(ours[0].grad, theirs[0].grad)


def test_large_logits_do_not_overflow() -> None:
    head = torch.tensor([[1.0], [-1.0]])
    assert token_logprobs(torch.full((1, 1), 1000.0), head, torch.tensor([1])).item() == pytest.approx(-2000.0)


def test_the_softmax_is_in_fp32_under_autocast(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets, _ = case
    ours = leaves(hidden.float(), head.float())
    with torch.autocast("cpu", torch.bfloat16):
        found = token_logprobs(*ours, targets)
    found.sum().backward()
    expected = plain(hidden.bfloat16().float(), head.bfloat16().float(), targets)[0]
    assert found.dtype == torch.float32
    assert ours[1].grad is not None
    assert ours[1].grad.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


def test_no_tokens_are_no_error(case: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    hidden, head, targets, _ = case
    assert token_logprobs(hidden[:0], head, targets[:0]).shape == (0,)
