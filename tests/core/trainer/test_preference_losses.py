"""Every loss over pairs against its formula in plain arithmetic, and the gradients that bugs are known for."""

import math

import pytest
import torch
from torch import Tensor

from core.trainer import preference_losses as losses

POLICY = [-10.0, -25.5, -40.0], [-12.0, -24.0, -60.0]
REFERENCE = [-11.0, -25.0, -42.0], [-11.5, -25.0, -50.0]
LENGTHS = [5.0, 10.0, 20.0], [6.0, 8.0, 30.0]


def tensors(*values: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(value, dtype=torch.float64) for value in values)


RATIOS = tuple(policy - reference for policy, reference in zip(tensors(*POLICY), tensors(*REFERENCE), strict=True))
DIFFERENCE = RATIOS[0] - RATIOS[1]
MEANS = tuple(policy / length for policy, length in zip(tensors(*POLICY), tensors(*LENGTHS), strict=True))


def check(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-8, rtol=0)


def check_mean(found: Tensor, expected: float) -> None:
    assert found.mean().item() == pytest.approx(expected, abs=1e-8)


def test_sigmoid() -> None:
    check(DIFFERENCE, [1.5, -1.5, 12.0])
    loss = losses.dpo_sigmoid(DIFFERENCE, beta=0.1)
    check(loss, [0.62095705, 0.77095705, 0.26328247])
    check_mean(loss, 0.55173219)


def test_label_smoothing_and_robust() -> None:
    check_mean(losses.dpo_sigmoid(DIFFERENCE, beta=0.1, label_smoothing=0.1), 0.59173219)
    check_mean(losses.dpo_robust(DIFFERENCE, beta=0.1, label_smoothing=0.1), 0.50173219)


def test_hinge() -> None:
    check_mean(losses.dpo_hinge(DIFFERENCE, beta=0.1), 0.66666667)


def test_ipo_takes_averages_per_token_and_not_sums() -> None:
    averages = RATIOS[0] / tensors(LENGTHS[0])[0] - RATIOS[1] / tensors(LENGTHS[1])[0]
    check_mean(losses.ipo(averages, beta=0.1), 23.29400463)
    check_mean(losses.ipo(DIFFERENCE, beta=0.1), 34.5)


def test_simpo() -> None:
    loss = losses.simpo(*MEANS, beta=2.0, margin=0.5)
    check(loss, [0.97407698, 0.51301525, 0.97407698])
    check_mean(loss, 0.82038974)


def test_orpo() -> None:
    check(losses.log_odds_ratio(*MEANS), [0.0, 0.48022945, 0.0])
    check_mean(losses.orpo(*MEANS, beta=0.1), 2.24559605)


def test_orpo_has_the_gradient_of_its_formula() -> None:
    """d log odds / d mean = 1 / (1 - p): the preference term moves both answers, apart."""
    chosen, rejected = (values.clone().requires_grad_() for values in MEANS)
    losses.orpo(chosen, rejected, beta=0.1).sum().backward()
    away = 0.1 * torch.sigmoid(-losses.log_odds_ratio(*MEANS))
    assert chosen.grad is not None
    assert rejected.grad is not None
    torch.testing.assert_close(chosen.grad, -1 - away / (1 - MEANS[0].exp()))
    torch.testing.assert_close(rejected.grad, away / (1 - MEANS[1].exp()))
    assert (rejected.grad > 0).all()


@pytest.mark.parametrize("x", [-1e-12, -1e-3, -math.log(2) + 1e-9, -math.log(2) - 1e-9, -5.0, -40.0])
def test_log1mexp_is_exact_on_both_branches(x: float) -> None:
    found = losses.log1mexp(torch.tensor(x, dtype=torch.float64)).item()
    exact = math.log(-math.expm1(x)) if x > -1 else math.log1p(-math.exp(x))
    assert found == pytest.approx(exact, rel=1e-13)


def test_an_answer_that_is_certain_or_impossible_leaves_orpo_finite() -> None:
    chosen, rejected = (torch.tensor(values, requires_grad=True) for values in ([0.0, -1e4], [-1e4, -1e-9]))
    loss = losses.orpo(chosen, rejected, beta=0.1)
    loss.sum().backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert all(torch.isfinite(values).all() for values in (loss, chosen.grad, rejected.grad))


def test_kto() -> None:
    kl = torch.tensor(0.7, dtype=torch.float64)
    good = losses.kto(*RATIOS, kl, beta=0.1, rejected_weight=0.0)
    bad = losses.kto(*RATIOS, kl, beta=0.1, chosen_weight=0.0)
    check(good, [0.49250056, 0.52996405, 0.46754569])
    check(bad, [0.47003595, 0.50749944, 0.25540308])
    check_mean(losses.kto(*RATIOS, kl, beta=0.1) / 2, 0.4538248)


def test_bradley_terry() -> None:
    chosen, rejected = tensors([1.0, 0.2, -0.5], [0.5, 0.4, -2.0])
    check_mean(losses.bradley_terry(chosen, rejected), 0.49120971)
    check_mean(losses.bradley_terry(chosen, rejected, centring=0.01), 0.52074304)
    torch.testing.assert_close(
        losses.bradley_terry(chosen, rejected, margin=0.3), losses.bradley_terry(chosen - 0.3, rejected)
    )


def test_equal_policy_and_reference_cost_ln_2_and_still_teach() -> None:
    difference = torch.zeros(4, requires_grad=True)
    loss = losses.dpo_sigmoid(difference, beta=0.1)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([math.log(2)] * 4, abs=1e-7)
    assert difference.grad is not None
    assert difference.grad.tolist() == pytest.approx([-0.05] * 4)


def test_differences_far_from_zero_do_not_overflow() -> None:
    difference = torch.tensor([-1e5, 1e5])
    assert losses.dpo_sigmoid(difference, beta=0.1).tolist() == pytest.approx([1e4, 0.0])
