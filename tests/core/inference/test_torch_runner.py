"""Ragged passes over blocks give what a full forward gives."""

import dataclasses
import itertools
import random

import pytest
import torch
from torch import Tensor

from core.config.model_config import PRESETS
from core.inference.runner import BLOCK_TOKENS, Segment, num_blocks_for
from core.inference.torch_runner import TorchRunner
from core.model import paged_cache
from core.model.transformer import Transformer

SHAPES = {
    "plain": {},
    "window": {"model_type": "mistral", "sliding_window": 40},
    "no gqa": {"num_key_value_heads": PRESETS["tiny"].num_attention_heads},
}


@pytest.fixture(scope="module", params=SHAPES)
def model(request: pytest.FixtureRequest) -> Transformer:
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=101, initializer_range=0.2, **SHAPES[request.param])
    model = Transformer(config).eval()
    model.init_weights(seed=0)
    return model


@pytest.fixture
def runner(model: Transformer) -> TorchRunner:
    runner = TorchRunner(model, num_blocks=40)
    for block in range(40):  # what nobody wrote must never be read
        runner.write_block(block, torch.full((runner.block_bytes // 4,), torch.nan).view(torch.uint8))
    return runner


def some_ids(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(101), k=count)


def full_logits(model: Transformer, ids: list[int]) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0]


@pytest.mark.parametrize("blocks", [range(4), [7, 3, 9, 5]], ids=["together", "scattered"])
def test_a_prompt_in_parts_gives_the_logits_of_a_full_forward(
    model: Transformer, runner: TorchRunner, blocks: list[int]
) -> None:
    ids = some_ids(120, seed=1)
    cuts = [0, 1, 33, 64, 65, 120]
    parts = [
        runner.forward([Segment(ids[begin:end], begin, blocks, end - begin)]) for begin, end in itertools.pairwise(cuts)
    ]
    torch.testing.assert_close(torch.cat(parts), full_logits(model, ids), atol=1e-4, rtol=1e-4)


def test_prompts_single_tokens_and_drafts_in_one_step_equal_each_alone(model: Transformer, runner: TorchRunner) -> None:
    lengths = {"long": 90, "other": 70, "short": 3, "draft": 50, "prompt": 40}
    texts = {name: some_ids(length, seed) for seed, (name, length) in enumerate(lengths.items())}
    free = iter(random.Random(5).sample(range(40), 40))
    blocks = {name: [next(free) for _ in range(num_blocks_for(length))] for name, length in lengths.items()}
    cached = {"long": 89, "other": 69, "short": 2, "draft": 44, "prompt": 8}
    for name, count in cached.items():
        assert len(runner.forward([Segment(texts[name][:count], 0, blocks[name], 0)])) == 0
    wanted = {"long": 1, "other": 1, "short": 1, "draft": 6, "prompt": 0}
    segments = [Segment(texts[name][cached[name] :], cached[name], blocks[name], wanted[name]) for name in lengths]
    expected = [full_logits(model, texts[name])[len(texts[name]) - wanted[name] :] for name in lengths]
    torch.testing.assert_close(runner.forward(segments), torch.cat(expected), atol=1e-4, rtol=1e-4)


def test_single_tokens_of_like_length_go_in_one_product_and_equal_each_alone(
    model: Transformer, runner: TorchRunner
) -> None:
    texts = [some_ids(length, seed=length) for length in (60, 64, 41)]
    blocks = [[3, 1], [8, 20], [11, 12]]
    for ids, table in zip(texts, blocks, strict=True):
        runner.forward([Segment(ids[:-1], 0, table, 0)])
    together = runner.forward(
        [Segment(ids[-1:], len(ids) - 1, table, 1) for ids, table in zip(texts, blocks, strict=True)]
    )
    expected = torch.stack([full_logits(model, ids)[-1] for ids in texts])
    torch.testing.assert_close(together, expected, atol=1e-4, rtol=1e-4)


def test_single_tokens_of_unlike_length_go_in_a_few_products_and_equal_each_alone(
    model: Transformer, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [some_ids(length, seed=length) for length in (2, 100, 5, 90, 3, 110, 40)]
    free = iter(random.Random(6).sample(range(40), 40))
    blocks = [[next(free) for _ in range(num_blocks_for(len(ids)))] for ids in texts]
    for ids, table in zip(texts, blocks, strict=True):
        runner.forward([Segment(ids[:-1], 0, table, 0)])
    products: list[int] = []
    attention = paged_cache.attention
    monkeypatch.setattr(paged_cache, "attention", lambda q, *rest: products.append(len(q)) or attention(q, *rest))
    segments = [Segment(ids[-1:], len(ids) - 1, table, 1) for ids, table in zip(texts, blocks, strict=True)]
    together = runner.forward(segments)
    assert products == [3, 4] * model.config.num_hidden_layers
    expected = torch.stack([full_logits(model, ids)[-1] for ids in texts])
    torch.testing.assert_close(together, expected, atol=1e-4, rtol=1e-4)


def test_a_copied_and_a_restored_block_continue_like_the_first(model: Transformer, runner: TorchRunner) -> None:
    ids = some_ids(BLOCK_TOKENS + 9, seed=3)
    runner.forward([Segment(ids[:-1], 0, [0, 1], 0)])
    runner.copy_block(1, 5)
    content = runner.read_block(0)
    assert content.dtype == torch.uint8
    assert content.numel() == runner.block_bytes
    runner.write_block(7, content)
    logits = runner.forward([Segment(ids[-1:], len(ids) - 1, [7, 5], 1)])
    torch.testing.assert_close(logits[0], full_logits(model, ids)[-1], atol=1e-4, rtol=1e-4)


def test_rejected_tokens_are_overwritten(model: Transformer, runner: TorchRunner) -> None:
    ids = some_ids(40, seed=4)
    runner.forward([Segment([*ids[:30], 5, 6, 7], 0, [2, 4], 0)])
    logits = runner.forward([Segment(ids[30:], 30, [2, 4], 1)])
    torch.testing.assert_close(logits[0], full_logits(model, ids)[-1], atol=1e-4, rtol=1e-4)


def test_the_head_computes_the_wanted_rows_only(
    model: Transformer, runner: TorchRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    head = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda x: rows.append(x.shape[1]) or head(x))
    runner.forward([Segment(some_ids(20, 1), 0, [0], 1), Segment(some_ids(9, 2), 0, [1], 4)])
    assert rows == [5]
