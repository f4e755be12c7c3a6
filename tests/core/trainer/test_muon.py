"""Muon: the orthogonalisation's bounds, one step by hand, and torch's own optimiser as the reference."""

import pytest
import torch
from torch import Tensor

from core.trainer.muon import QUINTIC, Muon, orthogonalised

LOWEST, HIGHEST = 0.68, 1.21  # what `orthogonalised` promises for singular values above 1/500 of the norm


def random_matrix(rows: int, columns: int, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def matrix_with_singular_values(values: Tensor, rows: int, columns: int) -> Tensor:
    left = torch.linalg.qr(random_matrix(rows, len(values), seed=1)).Q
    right = torch.linalg.qr(random_matrix(columns, len(values), seed=2)).Q
    return left * values @ right.T


def cosine(left: Tensor, right: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(left.flatten(), right.flatten(), dim=0).item()


@pytest.mark.parametrize(("rows", "columns"), [(24, 64), (64, 24), (256, 704), (1, 10), (10, 1), (2, 2)])
def test_singular_values_of_random_matrices_end_near_one(rows: int, columns: int) -> None:
    values = torch.linalg.svdvals(orthogonalised(random_matrix(rows, columns)))
    assert values.min() > LOWEST
    assert values.max() < HIGHEST


def test_every_singular_value_above_a_five_hundredth_of_the_norm_ends_in_the_range() -> None:
    given = torch.logspace(-2.6, 0, 32)
    matrix = matrix_with_singular_values(given, 48, 64)
    values = torch.linalg.svdvals(orthogonalised(matrix))[:32]
    assert (given / matrix.norm()).min() > 1 / 1000
    assert values[: int((given / matrix.norm() > 1 / 500).sum())].min() > LOWEST
    assert values.max() < HIGHEST


def test_directions_are_kept_and_the_scale_of_the_input_does_not_matter() -> None:
    matrix = random_matrix(24, 64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert cosine(orthogonalised(matrix), left @ right) > 0.98
    torch.testing.assert_close(orthogonalised(matrix * 1e4), orthogonalised(matrix), atol=1e-4, rtol=0)


def test_a_tall_matrix_is_treated_like_its_transpose() -> None:
    matrix = random_matrix(64, 24)
    torch.testing.assert_close(orthogonalised(matrix), orthogonalised(matrix.T).T, atol=1e-6, rtol=0)


def test_missing_ranks_stay_missing() -> None:
    matrix = matrix_with_singular_values(torch.linspace(1, 2, 8), 64, 48)
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values[:8].min() > LOWEST
    assert values[:8].max() < HIGHEST
    assert values[8:].max() < 1e-3


def test_zero_stays_zero() -> None:
    assert not orthogonalised(torch.zeros(5, 7)).any()


def test_one_step_by_hand() -> None:
    """A 1 × 1 matrix: the momentum is 0.05 g, its Nesterov mix positive, so x = 1 goes through the quintic."""
    a, b, c = QUINTIC
    direction = 1.0
    for _ in range(5):
        direction = a * direction + b * direction**3 + c * direction**5
    weight = torch.nn.Parameter(torch.tensor([[3.0]]))
    weight.grad = torch.tensor([[0.5]])
    optimizer = Muon([weight], lr=0.1, momentum=0.95, weight_decay=0.2)
    optimizer.step()
    assert optimizer.state[weight]["momentum_buffer"].item() == pytest.approx(0.05 * 0.5)
    assert weight.item() == pytest.approx(3.0 * (1 - 0.1 * 0.2) - 0.1 * 0.2 * direction)


@pytest.mark.parametrize(("rows", "columns"), [(16, 64), (64, 16), (32, 33)])
def test_the_root_mean_square_of_an_update_is_that_of_adamw(rows: int, columns: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(rows, columns))
    weight.grad = random_matrix(rows, columns)
    Muon([weight], lr=1.0, momentum=0.95, weight_decay=0.0).step()
    root_mean_square = weight.detach().square().mean().sqrt().item()
    assert 0.2 * LOWEST < root_mean_square < 0.2 * HIGHEST


def test_a_matrix_without_gradient_stays() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([weight], lr=1.0, momentum=0.95, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))


@pytest.mark.parametrize(("rows", "columns"), [(16, 48), (48, 16)])
def test_steps_go_where_those_of_torch_go(rows: int, columns: int) -> None:
    """torch computes in bf16, which has three digits; both see the same gradients."""
    start = random_matrix(rows, columns, seed=9)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
    optimizers = (
        Muon([ours], **settings),
        torch.optim.Muon([theirs], **settings, adjust_lr_fn="match_rms_adamw"),
    )
    for step in range(4):
        before = ours.detach().clone(), theirs.detach().clone()
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = random_matrix(rows, columns, seed=step)
            optimizer.step()
        moves = ours.detach() - before[0], theirs.detach() - before[1]
        assert cosine(*moves) > 0.999
        assert (moves[0].norm() / moves[1].norm()).item() == pytest.approx(1, abs=0.02)
