"""Attention by blocks of queries against softmax over all keys, in float64."""

import pytest
import torch
from torch import Tensor

from core.model import block_attention as blocks
from core.model.attention import attention, choose_attention
from core.model.block_attention import block_attention, plan_blocks
from core.model.visibility import Visibility

BATCH, HEADS, KV_HEADS, TIME, DIM = 3, 6, 2, 37, 4
DOCUMENTS = torch.tensor([[0] * 37, [0] * 5 + [1] * 20 + [2] * 12, [0] * 8 + [1] * 8 + [2] + [3] * 20])
# Two prompts with two answers each in a row: prompt, chosen, rejected.
BRANCHES = torch.tensor([[0] * 9 + [1] * 12 + [2] * 16, [0] * 2 + [1] * 3 + [0] * 4 + [1] * 6 + [2] * 22, [0] * 37])
POSITIONS = torch.arange(TIME).expand(BATCH, TIME)

VISIBILITIES = {
    "causal": {},
    "window": {"window": 7},
    "window wider than the row": {"window": 50},
    "documents": {"document_ids": DOCUMENTS},
    "documents with window": {"document_ids": DOCUMENTS, "window": 6},
    "branches": {"document_ids": DOCUMENTS, "branch_ids": BRANCHES, "position_ids": POSITIONS},
    "branches with window": {
        "document_ids": DOCUMENTS, "branch_ids": BRANCHES, "position_ids": POSITIONS, "window": 9,
    },
}  # fmt: skip


def operands(heads: int = HEADS, kv_heads: int = KV_HEADS) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, TIME, count, DIM) for count in (heads, kv_heads, kv_heads)]
    drawn = [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    q, k, v = (tensor.transpose(1, 2).requires_grad_() for tensor in drawn)
    return q, k, v


def result_and_gradients(result: Tensor, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    upstream = torch.randn(result.shape, dtype=result.dtype, generator=torch.Generator().manual_seed(1))
    return [result, *torch.autograd.grad(result, inputs, upstream)]


@pytest.mark.parametrize("name", VISIBILITIES)
@pytest.mark.parametrize("block_tokens", [8, 16, 128])
def test_blocks_equal_dense_attention_with_gradients(
    name: str, block_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_TOKENS", block_tokens)
    visibility = Visibility(TIME, torch.device("cpu"), **VISIBILITIES[name])  # type: ignore[arg-type]
    inputs = operands()
    ours = result_and_gradients(block_attention(*inputs, plan_blocks(visibility, BATCH)), inputs)
    dense = result_and_gradients(attention(*inputs, visibility.mask()), inputs)
    for mine, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (3, 1)])
def test_heads_may_share_keys_or_not(heads: int, kv_heads: int) -> None:
    visibility = Visibility(TIME, torch.device("cpu"), document_ids=DOCUMENTS)
    inputs = operands(heads, kv_heads)
    ours = result_and_gradients(block_attention(*inputs, plan_blocks(visibility, BATCH)), inputs)
    dense = result_and_gradients(attention(*inputs, visibility.mask()), inputs)
    for mine, expected in zip(ours, dense, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-9, atol=1e-12)


def test_gradients_equal_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_TOKENS", 3)
    visibility = Visibility(7, torch.device("cpu"), document_ids=torch.tensor([[0, 0, 0, 1, 1, 1, 1]]))
    plan = plan_blocks(visibility, 1)
    generator = torch.Generator().manual_seed(0)
    inputs = [
        torch.randn(1, heads, 7, 2, dtype=torch.float64, generator=generator, requires_grad=True) for heads in (2, 1, 1)
    ]
    assert torch.autograd.gradcheck(lambda q, k, v: block_attention(q, k, v, plan), inputs)


def test_only_blocks_of_one_document_go_without_a_mask_over_all_their_keys() -> None:
    ids = torch.tensor([[0] * 200 + [1] * 184])
    plan = plan_blocks(Visibility(384, torch.device("cpu"), document_ids=ids), 1)
    assert [(block.key, block.end, tuple(block.bias.shape)) for block in plan.blocks] == [
        (0, 128, (128, 128)),
        (0, 256, (128, 256)),
        (200, 384, (128, 128)),
    ]


def test_a_row_on_a_cpu_is_cut_into_blocks_and_gives_what_the_mask_gives() -> None:
    inputs = operands()
    visibility = Visibility(TIME, torch.device("cpu"), document_ids=DOCUMENTS)
    ours = choose_attention(visibility, BATCH, torch.float64)(*inputs)
    expected = attention(*inputs, visibility.mask())
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    assert "BlockAttention" in type(ours.grad_fn).__name__
