"""Invariants of the Transformer and its cache."""

import dataclasses

import pytest
import torch

from core.config.model_config import PRESETS
from core.errors import GenerationError
from core.model.transformer import Transformer
from tests.core.model.cached import cached_logits


@pytest.fixture(scope="module")
def model() -> Transformer:
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=101, initializer_range=0.2)
    model = Transformer(config).eval()
    model.init_weights(seed=0)
    return model


def test_astrai_1b_shape_has_the_published_parameter_counts() -> None:
    tied = PRESETS["1b"]
    assert tied.num_parameters == 1_050_207_744
    assert dataclasses.replace(tied, tie_word_embeddings=False).num_parameters == 1_203_807_744


@torch.no_grad()
def test_wanted_rows_give_the_logits_of_their_positions(model: Transformer) -> None:
    input_ids = torch.arange(24).view(2, 12)
    torch.testing.assert_close(model(input_ids, rows=torch.tensor([3, 11])), model(input_ids)[:, [3, 11]])


@torch.no_grad()
def test_a_cache_that_goes_back_continues_like_a_fresh_one(model: Transformer) -> None:
    input_ids = torch.arange(20)[None]
    logits = cached_logits(model, input_ids, [(0, 15), (6, 20)])[:, 15:]
    torch.testing.assert_close(logits, model(input_ids)[:, 6:], atol=1e-5, rtol=1e-5)


def test_context_overflow_names_both_numbers(model: Transformer) -> None:
    too_long = torch.zeros(1, 257, dtype=torch.long)
    with pytest.raises(GenerationError, match=r"257 tokens .* context of 256"):
        model(too_long)


def test_document_two_does_not_see_document_one(model: Transformer) -> None:
    document_ids = torch.tensor([[0] * 6 + [1] * 6])
    position_ids = torch.arange(6).repeat(2)[None]
    first, second = torch.arange(12)[None], torch.arange(12)[None].clone()
    second[0, 2] = 99
    with torch.no_grad():
        a = model(first, position_ids=position_ids, document_ids=document_ids)
        b = model(second, position_ids=position_ids, document_ids=document_ids)
    assert torch.equal(a[:, 6:], b[:, 6:])
    assert not torch.equal(a[:, 2:6], b[:, 2:6])


@torch.no_grad()
def test_packed_documents_score_like_separate_ones(model: Transformer) -> None:
    left, right = torch.arange(7)[None], torch.arange(40, 49)[None]
    packed = model(
        torch.cat((left, right), dim=1),
        position_ids=torch.cat((torch.arange(7), torch.arange(9)))[None],
        document_ids=torch.tensor([[0] * 7 + [1] * 9]),
    )
    torch.testing.assert_close(packed, torch.cat((model(left), model(right)), dim=1), atol=1e-5, rtol=1e-5)


PROMPT, CHOSEN, REJECTED = [5, 9, 2, 7], [11, 12, 13], [21, 22]


def branched_row() -> dict[str, torch.Tensor]:
    """A document before, then a prompt with two answers, and padding."""
    ids = [1, 2, 3, *PROMPT, *CHOSEN, *REJECTED, 0]
    return {
        "input_ids": torch.tensor([ids]),
        "document_ids": torch.tensor([[0] * 3 + [1] * 9 + [2]]),
        "branch_ids": torch.tensor([[0] * 7 + [1] * 3 + [2] * 2 + [0]]),
        "position_ids": torch.tensor([[0, 1, 2, *range(4), 4, 5, 6, 4, 5, 0]]),
    }


@pytest.mark.parametrize("window", [None, 3, 4])
def test_answers_that_share_a_prompt_are_as_in_rows_of_their_own(window: int | None) -> None:
    config = dataclasses.replace(
        PRESETS["tiny"], vocab_size=101, initializer_range=0.2, model_type="mistral", sliding_window=window
    )
    model = Transformer(config).double()
    model.init_weights(seed=0)
    shared = model.hidden(**branched_row())[0]
    shared_logits = torch.cat((shared[3:10], shared[3:7], shared[10:12])) @ model.lm_head.weight.T
    together = torch.autograd.grad(shared_logits.sin().sum(), list(model.parameters()))
    alone_logits = torch.cat([model(torch.tensor([PROMPT + answer]))[0] for answer in (CHOSEN, REJECTED)])
    alone = torch.autograd.grad(alone_logits.sin().sum(), list(model.parameters()))
    torch.testing.assert_close(shared_logits, alone_logits, rtol=1e-9, atol=1e-12)
    for ours, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_rows_of_documents_may_be_longer_than_the_context(model: Transformer) -> None:
    document_ids = torch.arange(3).repeat_interleave(100)[None]
    position_ids = torch.arange(100).repeat(3)[None]
    input_ids = torch.arange(300)[None] % 101
    with torch.no_grad():
        together = model(input_ids, position_ids=position_ids, document_ids=document_ids)
        alone = model(input_ids[:, 100:200])
    torch.testing.assert_close(together[:, 100:200], alone, atol=1e-5, rtol=1e-5)
