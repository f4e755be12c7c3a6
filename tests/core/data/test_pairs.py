"""Rows of pairs: the prompt once, answers alone are predicted, whole pairs, and an order that is a pure function."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.formats import Preference
from core.data.mmap_file import MmapFileHandler
from core.data.pairs import Group, PairBatch, PairDataset, collate
from core.data.tokenizer import TURN_END, Tokenizer
from core.errors import DataError
from tests.core.conftest import write_pairs


def dataset(folder: Path, tokenizer: Tokenizer, **changes: object) -> PairDataset:
    options = {"max_seq_len": 96, "stop_ids": tokenizer.stop_ids, "seed": 3, **changes}
    return PairDataset(MmapFileHandler(folder), "train", **options)


def answers_of(batch: PairBatch) -> list[list[int]]:
    return [batch.target[batch.sequence == number].tolist() for number in range(len(batch.lengths))]


def whole(rows: PairDataset, epoch: int = 0) -> PairBatch:
    return rows.batch([(epoch, index) for index in range(rows.num_rows(epoch))])


def test_a_row_by_hand() -> None:
    groups = [Group(np.array([7, 8, 9]), [np.array([1, 2]), np.array([3])]), Group(np.array([5]), [np.array([4])])]
    batch = collate([groups], torch.tensor([10, 11]))
    assert batch.input_ids.tolist() == [[7, 8, 9, 1, 2, 3, 5, 4]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]
    assert batch.branch_ids.tolist() == [[0, 0, 0, 1, 1, 2, 0, 1]]
    assert batch.source.tolist() == [2, 3, 2, 6]
    assert batch.target.tolist() == [1, 2, 3, 4]
    assert batch.sequence.tolist() == [0, 0, 1, 2]
    assert batch.lengths.tolist() == [2, 1, 1]
    assert batch.ends.tolist() == [4, 5, 7]
    assert batch.num_tokens == 8


def test_rows_are_filled_up_to_a_multiple_with_a_document_of_its_own() -> None:
    short, long = ([Group(np.arange(n), [np.arange(2), np.arange(3)])] for n in (3, 6))
    batch = collate([short, long], torch.tensor([0, 1]))
    assert batch.input_ids.shape == (2, 16)
    assert batch.document_ids[0].tolist() == [0] * 8 + [1] * 8
    assert batch.source[batch.sequence == 2].tolist() == [16 + 5, 16 + 6]
    assert batch.ends.tolist() == [4, 7, 16 + 7, 16 + 10]
    assert batch.num_tokens == 8 + 11


def test_joined_batches_are_what_their_rows_together_are() -> None:
    rows = [[Group(np.arange(n), [np.arange(1, 3), np.arange(2, 5)])] for n in (3, 6, 20)]
    one, two = collate(rows[:2], torch.tensor([0, 1])), collate(rows[2:], torch.tensor([2]))
    expected, joined = collate(rows, torch.tensor([0, 1, 2])), one.joined([two])
    for field in dataclasses.fields(PairBatch):
        value, wanted = getattr(joined, field.name), getattr(expected, field.name)
        if field.name == "document_ids":
            assert torch.equal(value == 0, wanted == 0)
        else:
            assert torch.equal(value, wanted) if isinstance(wanted, torch.Tensor) else value == wanted, field.name


def test_every_pair_comes_once_with_both_answers_up_to_the_end_of_the_turn(
    pair_data: Path, tokenizer: Tokenizer
) -> None:
    rows = dataset(pair_data, tokenizer)
    batch = whole(rows)
    assert sorted(batch.pairs.tolist()) == list(range(rows.num_pairs))
    assert rows.num_rows(0) < rows.num_pairs, "several pairs share a row"
    flat, answers = batch.input_ids.flatten(), answers_of(batch)
    for place, pair in enumerate(batch.pairs.tolist()):
        for side in (0, 1):
            tokens = rows.handler.tokens("train", 2 * pair + side)
            mask = rows.handler.loss_mask("train", 2 * pair + side)
            assert mask is not None
            first = int(mask.argmax())
            answer = answers[2 * place + side]
            assert answer == tokens[first : first + len(answer)].tolist()
            assert answer[-1] == tokenizer.added_tokens[TURN_END]
            assert flat[batch.ends[2 * place + side]] == answer[-1]
            assert mask[first : first + len(answer)].all()
            assert (
                tokens[:first].tolist()
                == flat[batch.source[batch.sequence == 2 * place + side][0] - first + 1 :][:first].tolist()
            )


def test_each_token_is_predicted_by_the_one_before_it_in_its_own_text(pair_data: Path, tokenizer: Tokenizer) -> None:
    batch = whole(dataset(pair_data, tokenizer))
    positions, branches = batch.position_ids.flatten(), batch.branch_ids.flatten()
    for number in range(len(batch.lengths)):
        source = batch.source[batch.sequence == number]
        assert branches[source].tolist() == [0] + [number % 2 + 1] * (len(source) - 1)
        assert positions[source].tolist() == list(
            range(int(positions[source[0]]), int(positions[source[0]]) + len(source))
        )


def test_order_is_a_function_of_seed_and_epoch(pair_data: Path, tokenizer: Tokenizer) -> None:
    first, again, other = (dataset(pair_data, tokenizer, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.batch([(1, 2)]).input_ids, again.batch([(1, 2)]).input_ids)
    assert whole(first, 1).pairs.tolist() != whole(first, 0).pairs.tolist()
    assert whole(first, 1).pairs.tolist() != whole(other, 1).pairs.tolist()
    ordered = dataset(pair_data, tokenizer, seed=None)
    assert ordered.batch([(0, 0)]).pairs[0] == 0


def test_rows_are_well_filled(pair_data: Path, tokenizer: Tokenizer) -> None:
    rows = dataset(pair_data, tokenizer)
    batch = whole(rows)
    assert batch.num_tokens / batch.input_ids.numel() > 0.85
    assert batch.input_ids.shape[1] <= 2 * 96


def write_one(folder: Path, tokenizer: Tokenizer, prompt: str, chosen: str, rejected: str) -> None:
    example = Preference([{"role": "user", "content": prompt}], chosen, rejected)
    write_pairs(folder, tokenizer, [example, Preference([{"role": "user", "content": "a"}], "b", "c")])


def test_a_long_prompt_loses_its_beginning_and_is_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_one(tmp_path / "data", tokenizer, "the fox " * 40, "yes the fox", "no")
    rows = dataset(tmp_path / "data", tokenizer, max_seq_len=32, seed=None)
    assert rows.problems == ["1 pairs lost the beginning of their prompt to fit 32 tokens"]
    batch = whole(rows)
    prompt_ends = batch.source[torch.cat((torch.tensor([0]), batch.lengths.cumsum(0)[:-1]))]
    prompt = batch.position_ids.flatten()[prompt_ends[0]] + 1
    assert prompt + max(batch.lengths[:2]) == 32
    chosen = rows.handler.tokens("train", 0)
    mask = rows.handler.loss_mask("train", 0)
    assert mask is not None
    first = int(mask.argmax())
    assert batch.input_ids[0, :prompt].tolist() == chosen[first - prompt : first].tolist()
    assert answers_of(batch)[0] == chosen[first : first + batch.lengths[0]].tolist()


def test_a_pair_whose_answer_does_not_fit_is_left_out_and_counted(tokenizer: Tokenizer, tmp_path: Path) -> None:
    write_one(tmp_path / "data", tokenizer, "why", "because", "the fox " * 40)
    rows = dataset(tmp_path / "data", tokenizer, max_seq_len=32)
    assert rows.problems == ["1 pairs have an answer of 32 tokens or more and are left out"]
    assert whole(rows).pairs.tolist() == [1]
    with pytest.raises(DataError, match=r"No pair of the train split can be used: 2 pairs .* 2 tokens or more"):
        dataset(tmp_path / "data", tokenizer, max_seq_len=2)


def test_prompts_that_differ_within_a_pair_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    writer = MmapFileHandler.writer(tmp_path / "data", kind="preference", vocab_size=420, fingerprint="")
    for ids in ([5, 6, 7, 8], [5, 9, 7, 8]):
        writer.add("train", ids, [0, 0, 1, 1])
    writer.close(sources=[], report={})
    with pytest.raises(DataError, match="The prompts of pair 0 of the train split differ"):
        dataset(tmp_path / "data", tokenizer)


def test_a_pair_without_an_answer_is_left_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    writer = MmapFileHandler.writer(tmp_path / "data", kind="preference", vocab_size=420, fingerprint="")
    for ids, mask in (([5, 6], [0, 0]), ([5, 6], [0, 0]), ([5, 6, 7], [0, 0, 1]), ([5, 6, 8], [0, 0, 1])):
        writer.add("train", ids, mask)
    writer.close(sources=[], report={})
    rows = dataset(tmp_path / "data", tokenizer)
    assert rows.problems == ["1 pairs have no prompt or no answer and are left out"]
    assert whole(rows).pairs.tolist() == [1]


def test_mismatched_answers_are_those_of_the_next_pair_in_every_epoch(pair_data: Path, tokenizer: Tokenizer) -> None:
    rows = dataset(pair_data, tokenizer, with_mismatched=True)
    for epoch in (0, 1):
        batch = whole(rows, epoch)
        assert batch.mismatched is not None
        chosen = dict(zip(batch.pairs.tolist(), answers_of(batch)[::2], strict=True))
        other = dict(zip(batch.mismatched.pairs.tolist(), answers_of(batch.mismatched), strict=True))
        assert all(other[pair] == chosen[(pair + 1) % rows.num_pairs] for pair in chosen)
        assert batch.mismatched.position_ids.max() < 96


def test_joined_batches_are_the_rows_of_one_batch(pair_data: Path, tokenizer: Tokenizer) -> None:
    rows = dataset(pair_data, tokenizer, with_mismatched=True)
    rows.reference = torch.arange(2.0 * rows.num_pairs).view(-1, 2)
    rows.reference_mismatched = torch.arange(1.0 * rows.num_pairs)
    parts = [[(0, 2)], [(0, 0), (0, 1)], [(1, 3)]]
    joined = rows.batch(parts[0]).joined([rows.batch(part) for part in parts[1:]])
    check_equal(joined, rows.batch([place for part in parts for place in part]))
    assert joined.mismatched is not None
    assert len({rows.batch(part).input_ids.shape[1] for part in parts}) > 1, "equal widths would prove nothing"


def check_equal(found: PairBatch, expected: PairBatch) -> None:
    """Equal but for the number of the document that fills a row up."""
    for field in dataclasses.fields(PairBatch):
        values = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(values[0], PairBatch):
            check_equal(*values)
        elif field.name != "document_ids":
            torch.testing.assert_close(*values, rtol=0, atol=0)
    assert torch.equal(found.input_ids.flatten()[found.source], expected.input_ids.flatten()[expected.source])
    is_used = expected.branch_ids > 0
    assert torch.equal(found.document_ids[is_used], expected.document_ids[is_used])


def test_a_batch_moves_whole(pair_data: Path, tokenizer: Tokenizer) -> None:
    rows = dataset(pair_data, tokenizer, with_mismatched=True)
    rows.reference = torch.arange(2.0 * rows.num_pairs).view(-1, 2)
    batch = rows.batch([(0, 0)])
    assert batch.reference is not None
    assert batch.reference.tolist() == [2 * pair + side for pair in batch.pairs.tolist() for side in (0, 1)]
    moved = batch.to(torch.device("meta"))
    assert moved.mismatched is not None
    parts = [moved.source, moved.reference, moved.pairs, moved.mismatched.ends]
    assert {part.device.type for part in parts if part is not None} == {"meta"}
    assert moved.num_tokens == batch.num_tokens
