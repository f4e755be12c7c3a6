from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.dataset import Batch, PackedDataset
from core.data.mixture import Mixture, Part
from core.data.mmap_file import MmapFileHandler
from core.data.sampler import RowSampler

SHARES = (0.5, 0.3, 0.2)


def part(folder: Path, number: int, *, num_documents: int, share: float) -> Part[Batch]:
    """Documents of 8 tokens whose first is 100 times the part's number plus their own, from 1."""
    writer = MmapFileHandler.writer(folder / str(number), kind="pt", vocab_size=1000, fingerprint="none")
    for document in range(num_documents):
        writer.add("train", np.full(8, 100 * number + document + 1))
    writer.close(sources=[], report={})
    rows = PackedDataset(MmapFileHandler(folder / str(number)), "train", max_seq_len=9, start_id=0, seed=1)
    return Part(f"part {number}", rows, share)


@pytest.fixture
def mixture(tmp_path: Path) -> Mixture[Batch]:
    sizes = (40, 12, 30)
    return Mixture([part(tmp_path, i, num_documents=sizes[i], share=share) for i, share in enumerate(SHARES)])


def parts_of(batch: Batch) -> list[int]:
    """Which part each row is from."""
    return (batch.labels.amax(dim=1) // 100).tolist()


def test_every_part_gives_its_share_of_any_number_of_rows(mixture: Mixture[Batch]) -> None:
    seen: Counter[int] = Counter()
    for row in range(5000):
        seen[mixture.locate(row)[0]] += 1
        for number, share in enumerate(SHARES):
            assert abs(seen[number] - share * (row + 1)) <= len(SHARES) - 1


def test_every_row_of_a_part_is_used_before_one_comes_again(mixture: Mixture[Batch]) -> None:
    numbers = [number for part, number in map(mixture.locate, range(1000)) if part == 1]
    assert numbers == list(range(len(numbers)))


def test_an_epoch_goes_once_round_the_first_part(mixture: Mixture[Batch]) -> None:
    assert mixture.num_rows(0) == mixture.num_rows(7) == 80
    batch = mixture.batch([(0, index) for index in range(80)])
    counts = Counter(batch.labels[:, 0].tolist())
    assert [counts[document] for document in range(1, 41)] == [1] * 40
    assert [counts[100 + document] for document in range(1, 13)] == [2] * 12


def test_batches_are_the_same_however_a_run_was_split(mixture: Mixture[Batch]) -> None:
    sampler = RowSampler(mixture.num_rows, global_batch_size=10)
    steps = [mixture.batch(sampler.step_rows(step)) for step in range(12)]
    fresh = RowSampler(mixture.num_rows, global_batch_size=10)
    assert torch.equal(mixture.batch(fresh.step_rows(11)).input_ids, steps[11].input_ids)
    assert all(Counter(parts_of(step)) == {0: 5, 1: 3, 2: 2} for step in steps)


def test_a_batch_counts_the_tokens_of_all_parts(mixture: Mixture[Batch]) -> None:
    batch = mixture.batch([(0, index) for index in range(10)])
    assert batch.input_ids.shape == (10, 9)
    assert batch.num_loss_tokens == 80


def test_shares_that_add_up_to_anything_are_taken_in_proportion(tmp_path: Path) -> None:
    mixture = Mixture([part(tmp_path, i, num_documents=20, share=share) for i, share in enumerate((0.6, 0.2))])
    assert Counter(mixture.locate(row)[0] for row in range(1000)) == {0: 750, 1: 250}
