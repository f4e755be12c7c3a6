"""Advantages, divergences and clipped losses against values computed by hand from their formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from core.trainer.rl_losses import (
    aggregate,
    cispo_loss,
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    gae,
    group_advantages,
    kl_k1,
    kl_k3,
    sequence_log_ratio,
    whiten,
)

LOGPROBS = [[-1, -2, -0.5], [-0.2, -1.5], [-3], [-0.7, -0.1, -2.2]]
OLD = [[-1.2, -1.9, -0.5], [-0.5, -1.5], [-2.5], [-0.7, -0.4, -2]]
REFERENCE = [[-1.1, -2, -0.6], [-0.2, -1.2], [-2.8], [-0.9, -0.1, -2]]
REWARDS = [1, 0, 0.5, 0]
SEQUENCE = torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3])


def flat(rows: list[list[float]]) -> Tensor:
    return tensor([value for row in rows for value in row])


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(actual: Tensor | float, expected: object) -> None:
    torch.testing.assert_close(torch.as_tensor(actual, dtype=torch.float64), tensor(expected), rtol=0, atol=1e-7)


def advantages() -> Tensor:
    return group_advantages(tensor([REWARDS]), scale=True)[0][SEQUENCE]


def test_group_advantages_are_in_unbiased_standard_deviations_or_plain() -> None:
    rewards = tensor([REWARDS])
    close(group_advantages(rewards, scale=True), [[1.30530975, -0.78318585, 0.26106195, -0.78318585]])
    close(group_advantages(rewards, scale=False), [[0.625, -0.375, 0.125, -0.375]])


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    close(group_advantages(tensor([[0.5, 0.5], [1, 0]]), scale=True)[0], [0, 0])


@pytest.mark.parametrize(
    ("kind", "beta", "expected"),
    [
        ("grpo", 0, 0.05952983),
        ("bnpo", 0, 0.01231712),
        ("dr_grpo", 0, 0.00692838),
        ("grpo", 0.04, 0.06015918),
        ("bnpo", 0.04, 0.01285520),
        ("dr_grpo", 0.04, 0.00723105),
    ],
)
def test_grpo_loss_has_the_value_of_its_formula(kind: str, beta: float, expected: float) -> None:
    terms, _ = clipped_policy_loss(flat(LOGPROBS) - flat(OLD), advantages(), 0.2)
    terms = terms + beta * kl_k3(flat(LOGPROBS), flat(REFERENCE))
    total, weight = aggregate(terms, SEQUENCE, 4, kind=kind, max_new_tokens=4)
    close(total / weight, expected)


def test_cispo_loss_has_the_value_of_its_formula() -> None:
    terms, cut = cispo_loss(flat(LOGPROBS) - flat(OLD), flat(LOGPROBS), advantages(), 5)
    close(terms.mean(), 0.18148110)
    assert not cut.any()


def test_cispo_keeps_the_gradient_of_a_cut_token() -> None:
    logprobs = tensor([-0.1, -0.1]).requires_grad_()
    terms, cut = cispo_loss(logprobs - tensor([-3, -0.1]), logprobs, tensor([2, 2]), 1.5)
    terms.sum().backward()
    assert cut.tolist() == [True, False]
    close(logprobs.grad, [-3, -2])


def test_gspo_loss_has_the_value_of_its_formula() -> None:
    log_ratio = sequence_log_ratio(flat(LOGPROBS) - flat(OLD), SEQUENCE, 4)
    terms, _ = clipped_policy_loss(log_ratio, advantages(), 0.2)
    total, weight = aggregate(terms, SEQUENCE, 4, kind="grpo", max_new_tokens=4)
    close(total / weight, 0.05294218)


def test_gae_and_returns_and_whitening_have_the_values_of_their_formulas() -> None:
    values, rewards = tensor([[0.5, 0.6, 0.7, 0.4]]), tensor([[-0.01, -0.02, -0.03, 1]])
    result = gae(rewards, values, gamma=1, lam=0.95)
    close(result, [[0.3826, 0.308, 0.24, 0.6]])
    close(result + values, [[0.8826, 0.908, 0.94, 1]])
    close(whiten(result[0]), [-0.00032017, -0.47801946, -0.91345581, 1.39179544])


def test_returns_of_one_reward_at_the_end_fall_geometrically() -> None:
    last = tensor([[0, 0, 0, 1]])
    gamma, lam = 0.9, 0.95
    close(gae(last, last, gamma=gamma, lam=lam) + last, [[gamma**3 * lam**2, gamma**2 * lam, gamma, 1]])


def test_gae_of_a_filled_up_completion_is_that_of_it_alone() -> None:
    rewards, values = tensor([[0.1, 0.7, 0, 0], [1, 2, 3, 4]]), tensor([[0.3, -0.2, 0, 0], [4, 3, 2, 1]])
    together = gae(rewards, values, gamma=0.99, lam=0.9)
    alone = gae(rewards[:1, :2], values[:1, :2], gamma=0.99, lam=0.9)
    close(together[0], [*alone[0].tolist(), 0, 0])


def test_whitening_two_halves_with_shared_sums_is_whitening_the_whole() -> None:
    values = torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    halves = values[:4], values[4:]
    whole = values.mean()
    sums = iter([tensor([10, values.sum().item()]), tensor([(values - whole).square().sum().item()])])
    close(whiten(halves[0], lambda _: next(sums)), whiten(values)[:4].tolist())


def test_an_unchanged_policy_has_ratio_one_no_divergence_and_a_gradient() -> None:
    logprobs = flat(LOGPROBS).requires_grad_()
    terms, clipped = clipped_policy_loss(logprobs - flat(LOGPROBS), advantages(), 0.2)
    total, weight = aggregate(terms, SEQUENCE, 4, kind="grpo", max_new_tokens=4)
    total.backward()
    close(total.detach() / weight, 0)
    close(terms.detach(), (-advantages()).tolist())
    assert not clipped.any()
    close(logprobs.grad, (-advantages() / torch.bincount(SEQUENCE)[SEQUENCE]).tolist())
    close(kl_k1(flat(LOGPROBS), flat(LOGPROBS)).sum() + kl_k3(flat(LOGPROBS), flat(LOGPROBS)).sum(), 0)


def test_a_token_beyond_the_clip_range_has_no_gradient_where_it_would_go_further() -> None:
    log_ratio = tensor([0.5, 0.5, -0.5, -0.5]).requires_grad_()
    terms, clipped = clipped_policy_loss(log_ratio, tensor([1, -1, 1, -1]), 0.2)
    terms.sum().backward()
    close(terms.detach(), [-1.2, math.exp(0.5), -math.exp(-0.5), 0.8])
    assert clipped.tolist() == [True, False, False, True]
    close(log_ratio.grad, [0, math.exp(0.5), -math.exp(-0.5), 0])


def test_the_clipped_value_loss_takes_the_worse_of_both() -> None:
    values, old, returns = tensor([1.0, 0.1, 0.5]), tensor([0, 0, 0.5]), tensor([1, 1, 0])
    close(clipped_value_loss(values, old, returns, 0.2), [0.5 * 0.8**2, 0.5 * 0.9**2, 0.5 * 0.25])


@given(st.lists(st.floats(-5, 0), min_size=2, max_size=8))
def test_k3_is_never_negative_and_agrees_with_k1_in_the_mean(scores: list[float]) -> None:
    policy = torch.log_softmax(tensor(scores), dim=0)
    reference = torch.log_softmax(tensor(scores[::-1]), dim=0)
    third = kl_k3(policy, reference)
    assert (third >= 0).all()
    close((policy.exp() * third).sum(), (policy.exp() * kl_k1(policy, reference)).sum().item())


def test_explained_variance_is_one_for_the_truth_and_zero_for_the_mean() -> None:
    returns = tensor([1, 2, 4])
    close(explained_variance(returns, returns), 1)
    close(explained_variance(returns.mean().expand(3), returns), 0)
