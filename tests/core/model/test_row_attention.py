"""Attention of whole rows on a GPU against the mask; on a CPU what decides who sees whom."""

from functools import partial

import pytest
import torch
from torch import Tensor

from core.model.attention import attention, choose_attention
from core.model.row_attention import TABLE_STEP, DocumentAttention, FlexAttention
from core.model.visibility import Visibility
from tests.core.model.test_block_attention import BATCH, TIME, VISIBILITIES

HEADS, KV_HEADS, DIM = 6, 2, 64


def visibility_of(name: str, device: str) -> Visibility:
    options = {
        key: value.to(device) if isinstance(value, Tensor) else value for key, value in VISIBILITIES[name].items()
    }
    return Visibility(TIME, torch.device(device), **options)  # type: ignore[arg-type]


def operands(device: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(BATCH, TIME, heads, DIM, generator=generator) for heads in (HEADS, KV_HEADS, KV_HEADS)]
    return [tensor.to(device, dtype).transpose(1, 2).requires_grad_() for tensor in drawn]


def result_and_gradients(result: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).to(result)
    return [result, *torch.autograd.grad(result, inputs, upstream)]


@pytest.mark.parametrize("name", VISIBILITIES)
def test_a_pair_is_seen_where_the_mask_says(name: str) -> None:
    visibility = visibility_of(name, "cpu")
    row, query, key = torch.meshgrid(torch.arange(BATCH), torch.arange(TIME), torch.arange(TIME), indexing="ij")
    seen = visibility.sees(row, query, key)
    assert torch.equal(seen, visibility.mask()[:, 0].expand_as(seen))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("name", VISIBILITIES)
def test_flex_attention_equals_the_mask(name: str) -> None:
    visibility, inputs = visibility_of(name, "cpu"), [tensor.detach() for tensor in operands("cpu", torch.float32)]
    found, expected = FlexAttention(visibility, BATCH)(*inputs), attention(*inputs, visibility.mask())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_documents_become_sequences_with_empty_ones_to_fill_the_table() -> None:
    chosen = DocumentAttention(visibility_of("documents", "cpu"), BATCH)
    assert chosen.begins[:7].tolist() == [0, 37, 42, 62, 74, 82, 90]
    assert set(chosen.begins[8:].tolist()) == {BATCH * TIME}
    assert len(chosen.begins) == TABLE_STEP
    assert DocumentAttention(visibility_of("window", "cpu"), BATCH).begins[:4].tolist() == [0, 37, 74, 111]


def chosen(device: str, dtype: torch.dtype, name: str, *, compiles: bool = False) -> object:
    return choose_attention(visibility_of(name, device), BATCH, dtype, compiles=compiles)


def test_beside_the_blocks_a_cpu_takes_a_mask_where_one_is_needed() -> None:
    masked, causal = chosen("cpu", torch.bfloat16, "documents"), chosen("cpu", torch.bfloat16, "causal")
    assert isinstance(masked, partial)
    assert masked.keywords["mask"].shape == (BATCH, 1, TIME, TIME)
    assert isinstance(causal, partial)
    assert causal.keywords == {"mask": None}
    assert isinstance(chosen("cpu", torch.bfloat16, "branches", compiles=True), FlexAttention)


@pytest.mark.gpu
def test_a_gpu_takes_the_kernel_that_knows_what_is_seen() -> None:
    assert isinstance(chosen("cuda", torch.bfloat16, "documents"), DocumentAttention)
    assert isinstance(chosen("cuda", torch.float32, "documents"), partial)
    assert isinstance(chosen("cuda", torch.bfloat16, "branches"), partial)
    assert isinstance(chosen("cuda", torch.bfloat16, "branches", compiles=True), FlexAttention)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in VISIBILITIES if "branches" not in name])
def test_attention_by_document_equals_the_mask_with_gradients(name: str) -> None:
    visibility, inputs = visibility_of(name, "cuda"), operands("cuda", torch.bfloat16)
    found = result_and_gradients(DocumentAttention(visibility, BATCH)(*inputs), inputs)
    for mine, expected in zip(found, _in_double(visibility, inputs), strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize("name", VISIBILITIES)
def test_compiled_flex_attention_equals_the_mask_with_gradients(name: str) -> None:
    visibility, inputs = visibility_of(name, "cuda"), operands("cuda", torch.bfloat16)
    compiled = torch.compile(FlexAttention(visibility, BATCH).__call__)
    found = result_and_gradients(compiled(*inputs), inputs)
    for mine, expected in zip(found, _in_double(visibility, inputs), strict=True):
        torch.testing.assert_close(mine.double(), expected, rtol=2e-2, atol=2e-2)


def _in_double(visibility: Visibility, inputs: list[Tensor]) -> list[Tensor]:
    wide = [tensor.detach().double().requires_grad_() for tensor in inputs]
    return result_and_gradients(attention(*wide, visibility.mask()), wide)
