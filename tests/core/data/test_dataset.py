"""Rows: every token once, whole conversations, and an order that is a pure function."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.dataset import IGNORED, PackedDataset
from core.data.mmap_file import MmapFileHandler
from core.data.sampler import RowSampler
from core.data.tokenizer import Tokenizer

START = 1


def packed(folder: Path, *, seed: int | None, max_seq_len: int = 32) -> PackedDataset:
    return PackedDataset(MmapFileHandler(folder), "train", max_seq_len=max_seq_len, start_id=START, seed=seed)


def test_stream_rows_predict_every_token_once(text_data: Path) -> None:
    rows = packed(text_data, seed=3)
    predicted = [rows.row(0, index)[1] for index in range(rows.num_rows(0))]
    labels = np.concatenate(predicted)
    labels = np.sort(labels[labels != IGNORED])
    handler = rows.handler
    everything = np.concatenate([handler.tokens("train", i) for i in range(handler.num_documents("train"))])
    unseen_tail = len(everything) - len(labels)
    assert 0 <= unseen_tail <= rows.max_seq_len
    counts = np.bincount(everything, minlength=500) - np.bincount(labels, minlength=500)
    assert counts.min() >= 0
    assert counts.sum() == unseen_tail


def test_a_row_predicts_the_next_token_within_a_document(text_data: Path) -> None:
    ids, labels, positions, documents, _ = packed(text_data, seed=None).row(0, 0)
    same_document = documents[1:] == documents[:-1]
    assert np.array_equal(labels[:-1][same_document], ids[1:][same_document])
    assert (ids[positions == 0][:2] == START).all()


def test_end_of_a_document_predicts_nothing(text_data: Path, tokenizer: Tokenizer) -> None:
    ids, labels, *_ = packed(text_data, seed=None).row(0, 0)
    assert (ids == tokenizer.eos_id).any()
    assert (labels[ids == tokenizer.eos_id] == IGNORED).all()


def test_order_is_a_function_of_seed_and_epoch(text_data: Path) -> None:
    first, again, other = packed(text_data, seed=1), packed(text_data, seed=1), packed(text_data, seed=2)
    assert np.array_equal(first.row(1, 4)[0], again.row(1, 4)[0])
    assert not np.array_equal(first.row(1, 4)[0], first.row(0, 4)[0])
    assert not np.array_equal(first.row(1, 4)[0], other.row(1, 4)[0])


def test_conversations_are_packed_whole_and_only_replies_carry_loss(chat_data: Path, tokenizer: Tokenizer) -> None:
    rows = packed(chat_data, seed=5, max_seq_len=128)
    labels = [rows.row(0, index)[1] for index in range(rows.num_rows(0))]
    ends = sum(int((row == tokenizer.eos_id).sum()) for row in labels)
    assert ends == rows.handler.num_documents("train")
    learnt = sum(int((row != IGNORED).sum()) for row in labels)
    assert learnt == rows.handler.manifest["splits"]["train"]["num_loss_tokens"]


def test_a_conversation_longer_than_a_row_is_counted(chat_data: Path) -> None:
    rows = packed(chat_data, seed=5, max_seq_len=16)
    assert rows.problems == [f"{(rows.lengths > 17).sum()} conversations are longer than 16 tokens"]
    assert rows.row(0, 0)[0].shape == (16,)


def test_batch_has_the_rows_as_tensors(text_data: Path) -> None:
    rows = packed(text_data, seed=1)
    batch = rows.batch([(0, 2), (1, 0)])
    assert batch.input_ids.shape == (2, 32)
    assert torch.equal(batch.input_ids[1], torch.from_numpy(rows.row(1, 0)[0]))
    assert batch.num_loss_tokens == int((batch.labels != IGNORED).sum())
    assert batch.num_tokens <= batch.input_ids.numel()


@pytest.mark.parametrize(("row", "place"), [(0, (0, 0)), (4, (0, 4)), (5, (1, 0)), (11, (1, 6)), (12, (2, 0))])
def test_sampler_counts_rows_over_epochs_of_different_length(row: int, place: tuple[int, int]) -> None:
    sampler = RowSampler(lambda epoch: [5, 7, 6][epoch], global_batch_size=4)
    assert sampler.locate(row) == place


def test_steps_of_an_epoch_cover_its_rows() -> None:
    sampler = RowSampler(lambda epoch: 10, global_batch_size=4)
    assert sampler.steps_in(1.0) == 2
    assert sampler.steps_in(2.5) == 6
    assert sampler.step_rows(2) == [(0, 8), (0, 9), (1, 0), (1, 1)]
