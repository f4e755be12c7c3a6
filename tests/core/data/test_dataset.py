"""Rows: every token once, whole conversations, and an order that is a pure function."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.dataset import IGNORED, PackedDataset
from core.data.mmap_file import MmapFileHandler
from core.data.sampler import RowSampler
from core.data.tokenizer import Tokenizer
from core.errors import DataError

START = 1


def packed(folder: Path, *, seed: int | None, max_seq_len: int = 32) -> PackedDataset:
    return PackedDataset(MmapFileHandler(folder), "train", max_seq_len=max_seq_len, start_id=START, seed=seed)


def written(folder: Path, documents: list[list[int]]) -> Path:
    writer = MmapFileHandler.writer(folder, kind="pt", vocab_size=500, fingerprint="none")
    for ids in documents:
        writer.add("train", ids)
    writer.close(sources=[], report={})
    return folder


def test_stream_rows_predict_every_token_once(text_data: Path) -> None:
    rows = packed(text_data, seed=3)
    predicted = [rows.row(0, index)[1] for index in range(rows.num_rows(0))]
    labels = np.concatenate(predicted)
    labels = np.sort(labels[labels != IGNORED])
    handler = rows.handler
    everything = np.concatenate([handler.tokens("train", i) for i in range(handler.num_documents("train"))])
    assert np.array_equal(np.sort(everything), labels)


def test_a_long_document_goes_on_in_the_next_rows(tmp_path: Path) -> None:
    rows = packed(written(tmp_path / "pt", [list(range(100, 170)), [7, 8]]), seed=None)
    labels = [rows.row(0, index)[1] for index in range(rows.num_rows(0))]
    assert [row[row != IGNORED].tolist() for row in labels] == [
        list(range(100, 132)),
        list(range(132, 164)),
        [*range(164, 170), 7, 8],
    ]
    positions = [rows.row(0, index)[2] for index in range(rows.num_rows(0))]
    assert positions[2][:11].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 0]
    assert rows.batch([(0, 2)]).num_tokens == 10


def test_a_token_beyond_the_vocabulary_is_named_with_file_and_document(tmp_path: Path) -> None:
    folder = written(tmp_path / "pt", [[5] * 9, [6] * 9, [7] * 9])
    file = folder / "train-00000.tokens.bin"
    tokens = np.fromfile(file, dtype="<u2")
    tokens[12] = 9000
    tokens.tofile(file)
    with pytest.raises(DataError, match=r"train-00000\.tokens\.bin, document 2 holds the token id 9000.*has 500"):
        packed(folder, seed=None).batch([(0, 0)])


def test_rows_read_the_same_after_memory_was_released(text_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = [(0, index) for index in range(8)]
    before = packed(text_data, seed=1).batch(places)
    monkeypatch.setattr("core.data.dataset.RELEASE_TOKENS", 1)
    rows = packed(text_data, seed=1)
    assert torch.equal(torch.cat([rows.batch([place]).input_ids for place in places]), before.input_ids)


def test_joined_batches_hold_the_rows_of_all(text_data: Path) -> None:
    rows = packed(text_data, seed=1)
    whole = rows.batch([(0, 0), (0, 1), (0, 2)])
    joined = rows.batch([(0, 0)]).joined([rows.batch([(0, 1)]), rows.batch([(0, 2)])])
    assert torch.equal(joined.labels, whole.labels)
    assert (joined.num_tokens, joined.num_loss_tokens) == (whole.num_tokens, whole.num_loss_tokens)


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
