"""Products of quantised matrices equal the same arithmetic in float64, on every shape and on the worst numbers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from core.model.quantize import QuantizedLinear
from tests.core.kernels.products import quantised, rounded, through_kernels

GROUPS = (32, 64, 128)


def expected(x: Tensor, layer: QuantizedLinear) -> Tensor:
    y = rounded(x, layer.group_size) @ layer.floats().double().T
    return y if layer.bias is None else y + layer.bias.detach().double()


def check(x: Tensor, layer: QuantizedLinear) -> None:
    """fp32 accumulation over whole-number sums of groups: a few units in the last place of the largest term."""
    bound = rounded(x, layer.group_size).abs() @ layer.floats().double().abs().T + 1
    error = (through_kernels(x, layer).double() - expected(x, layer)).abs()
    assert (error <= bound * 2e-6).all(), float((error / bound).max())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 11),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 30),
    bits=st.sampled_from([4, 8]),
    group=st.sampled_from(GROUPS),
    seed=st.integers(0, 999),
)
def test_any_shape_equals_float64(rows: int, inputs: int, outputs: int, bits: int, group: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, inputs * 8, generator=generator)
    check(x, quantised(torch.randn(outputs, inputs * 8, generator=generator), bits=bits, group=group))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rows", [1, 4])
def test_rows_of_the_same_extreme_sign_do_not_saturate(bits: int, sign: float, rows: int) -> None:
    x = torch.full((rows, 512), 3.0)
    check(x, quantised(torch.full((16, 512), sign), bits=bits, group=64))


@pytest.mark.parametrize("bits", [4, 8])
def test_alternating_extremes_and_outliers_are_exact(bits: int) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(5, 256, generator=generator)
    x[1, 7], x[2, 200], x[3] = 4e4, -9e6, torch.tensor([1.0, -1.0]).repeat(128)
    weight = torch.randn(24, 256, generator=generator)
    weight[3, 5], weight[4] = 500.0, torch.tensor([-1.0, 1.0]).repeat(128)
    check(x, quantised(weight, bits=bits, group=64, bias=True))


@pytest.mark.parametrize("bits", [4, 8])
def test_zeros_give_zeros(bits: int) -> None:
    layer = quantised(torch.zeros(9, 64), bits=bits, group=32)
    assert not through_kernels(torch.randn(4, 64), layer).any()
    layer = quantised(torch.randn(9, 64), bits=bits, group=32)
    assert not through_kernels(torch.zeros(4, 64), layer).any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_number_that_is_none_reaches_every_output_of_its_row_alone(bits: int, bad: float) -> None:
    x = torch.randn(4, 64)
    x[2, 63] = bad
    y = through_kernels(x, quantised(torch.randn(9, 64), bits=bits, group=32))
    assert y[2].isnan().all()
    assert y[[0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("bits", [4, 8])
def test_a_row_is_the_same_alone_in_a_batch_and_on_more_threads(bits: int) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(70, 320, generator=generator)
    layer = quantised(torch.randn(100, 320, generator=generator), bits=bits, group=64)
    together = through_kernels(x, layer, threads=3)
    alone = torch.cat([through_kernels(row[None], layer) for row in x])
    assert torch.equal(together, alone)
