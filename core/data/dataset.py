"""Rows of a fixed length, packed from the documents of a token data set.

Everything here is a pure function of (seed, epoch, index), so a run resumes from one integer.
Pre-training joins all documents of an epoch into one stream and cuts it; conversations are packed
whole. Each pre-training document begins with `start_id`, so its first token is predicted too.

    documents  a a a a a | b b | c c c c          max_seq_len 4
    stream     s a a a | a a s b | b s c c | c c
    document   0 0 0 0 | 0 0 1 1 | 1 2 2 2 | …    position_ids restart with each document
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.data.mmap_file import MmapFileHandler
from core.errors import DataError, Sentence

IGNORED = -100
# Pages of the maps are given back after so many tokens, and come again from the system's cache.
RELEASE_TOKENS = 1 << 20
Ids = NDArray[np.int64]
B_co = TypeVar("B_co", covariant=True)


class Rows(Protocol[B_co]):
    """One split as rows: what a stage reads. Which row is where is a pure function of (seed, epoch, index)."""

    def num_rows(self, epoch: int) -> int: ...

    def batch(self, places: Sequence[tuple[int, int]]) -> B_co:
        """The rows at these (epoch, index) places."""

    def row_tokens(self, epoch: int) -> Ids:
        """Tokens that the model reads of each row, (rows,)."""

    @property
    def problems(self) -> list[str]:
        """What was left out of the rows and why, in sentences; empty when nothing was."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows of T tokens. `labels` is the next token, or IGNORED where no loss is taken."""

    input_ids: Tensor  # (B, T) int64
    labels: Tensor  # (B, T) int64
    position_ids: Tensor  # (B, T) int64, from 0 in each document's part of the row
    document_ids: Tensor  # (B, T) int64, which document of the row
    num_tokens: int  # without padding
    num_loss_tokens: int  # labels that are not IGNORED

    def to(self, device: torch.device) -> "Batch":
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in _TENSORS})

    def pin_memory(self) -> "Batch":
        """In memory that a GPU reads by itself, so that `to` does not wait."""
        return replace(self, **{name: getattr(self, name).pin_memory() for name in _TENSORS})

    def joined(self, others: Sequence["Batch"]) -> "Batch":
        """These rows and then those of the others."""
        batches = (self, *others)
        joined: dict[str, Any] = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in _TENSORS}
        for name in ("num_tokens", "num_loss_tokens"):
            joined[name] = sum(getattr(batch, name) for batch in batches)
        return Batch(**joined)


_TENSORS = ("input_ids", "labels", "position_ids", "document_ids")


class PackedDataset:
    """One split of a token data set as rows of `max_seq_len` tokens."""

    def __init__(
        self, handler: MmapFileHandler, split: str, *, max_seq_len: int, start_id: int, seed: int | None
    ) -> None:
        """`seed` None keeps the documents in their order on disk (validation)."""
        self.handler, self.split, self.max_seq_len, self.start_id, self.seed = (
            handler,
            split,
            max_seq_len,
            start_id,
            seed,
        )
        self.is_stream = handler.kind == "pt"
        self.lengths = handler.lengths(split)
        if not len(self.lengths):
            raise DataError("The {split} split is empty.", "Run `prepare` on more text.", split=split)
        self._epoch = lru_cache(maxsize=2)(self._plan)  # a step may end one epoch and begin the next
        self._unreleased_tokens = 0

    @property
    def problems(self) -> list[str]:
        """Conversations longer than a row lose their end."""
        count = 0 if self.is_stream else int((self.lengths > self.max_seq_len + 1).sum())
        told = Sentence("{count:,} conversations are longer than {size} tokens", count=count, size=self.max_seq_len)
        return [told] if count else []

    def num_rows(self, epoch: int) -> int:
        return len(self._epoch(epoch).row_order)

    def row_tokens(self, epoch: int) -> Ids:
        """The same for each row: what is left is filled up."""
        return np.full(self.num_rows(epoch), self.max_seq_len)

    def row(self, epoch: int, index: int) -> tuple[Ids, Ids, Ids, Ids, int]:
        """input_ids, labels, position_ids, document_ids of one row, each (T,), and how many tokens it holds."""
        plan = self._epoch(epoch)
        row = int(plan.row_order[index])
        pieces = self._stream_pieces(plan, row) if self.is_stream else self._conversations(plan, row)
        return self._join(pieces)

    def batch(self, places: Sequence[tuple[int, int]]) -> Batch:
        """The rows at these (epoch, index) places."""
        *columns, counts = zip(*(self.row(epoch, index) for epoch, index in places), strict=True)
        ids, labels, positions, documents = (torch.from_numpy(np.stack(parts)) for parts in columns)
        self._unreleased_tokens += ids.numel()
        if self._unreleased_tokens >= RELEASE_TOKENS:
            self.handler.release_memory()
            self._unreleased_tokens = 0
        num_loss_tokens = int((labels != IGNORED).sum())
        return Batch(ids, labels, positions, documents, num_tokens=sum(counts), num_loss_tokens=num_loss_tokens)

    def _plan(self, epoch: int) -> "_EpochPlan":
        """Where an epoch's rows begin: for 5 million documents in 10 million rows, 100 MB."""
        order = shuffled(len(self.lengths), self.seed, epoch, 0)
        lengths = self.lengths[order]
        if self.is_stream:
            starts = np.cumsum(lengths + 1, dtype=np.int64)
            num_rows = max(-(-int(starts[-1] - 1) // self.max_seq_len), 1)
            starts -= lengths + 1
        else:
            starts = _row_starts(np.minimum(lengths - 1, self.max_seq_len), self.max_seq_len)
            num_rows = len(starts) - 1
        return _EpochPlan(order, starts, shuffled(num_rows, self.seed, epoch, 1))

    def _stream_pieces(self, plan: "_EpochPlan", row: int) -> list["_Piece"]:
        """The parts of documents inside stream positions [row·T, row·T + T]."""
        first, last = row * self.max_seq_len, (row + 1) * self.max_seq_len + 1
        pieces = []
        document = int(np.searchsorted(plan.starts, first, side="right")) - 1
        while document < len(plan.order) and plan.starts[document] < last:
            begin = max(first - int(plan.starts[document]), 0)
            end = min(last - int(plan.starts[document]), int(self.lengths[plan.order[document]]) + 1)
            body = self.handler.ids(self.split, int(plan.order[document]), max(begin - 1, 0), end - 1)
            ids = np.concatenate(([self.start_id], body)) if begin == 0 else body
            pieces.append(_Piece(ids, np.ones(len(ids), dtype=bool)))
            document += 1
        return pieces

    def _conversations(self, plan: "_EpochPlan", row: int) -> list["_Piece"]:
        pieces = []
        for document in plan.order[plan.starts[row] : plan.starts[row + 1]]:
            ids = self.handler.ids(self.split, int(document), 0, self.max_seq_len + 1)
            mask = self.handler.loss_mask(self.split, int(document))
            assert mask is not None, "conversations carry a loss mask"
            pieces.append(_Piece(ids, mask[: len(ids)].astype(bool)))
        return pieces

    def _join(self, pieces: list["_Piece"]) -> tuple[Ids, Ids, Ids, Ids, int]:
        """Shift each piece by one for its labels and fill the row up.

        A piece of n tokens gives n - 1 predictions. In a stream the last token of a finished
        document stays as an input without a label, so that stream positions and row places agree.
        """
        size = self.max_seq_len
        ids, positions = np.full(size, self.start_id, dtype=np.int64), np.zeros(size, dtype=np.int64)
        labels, documents = np.full(size, IGNORED, dtype=np.int64), np.full(size, len(pieces), dtype=np.int64)
        place = 0
        for number, piece in enumerate(pieces):
            keep = len(piece.ids) if self.is_stream else len(piece.ids) - 1
            keep = min(keep, size - place)
            span = slice(place, place + keep)
            ids[span] = piece.ids[:keep]
            positions[span] = np.arange(keep)
            documents[span] = number
            targets = np.where(piece.mask, piece.ids, IGNORED)[1 : keep + 1]
            labels[place : place + len(targets)] = targets
            place += keep
        return ids, labels, positions, documents, place


@dataclass(frozen=True, slots=True)
class _Piece:
    ids: Ids  # (n,)
    mask: NDArray[np.bool_]  # (n,), true where the token may be a label


@dataclass(frozen=True, slots=True)
class _EpochPlan:
    order: NDArray[np.int32]  # documents in this epoch's order
    starts: Ids  # stream: first position of each document; conversations: first document of each row, and the end
    row_order: NDArray[np.int32]


def _row_starts(lengths: NDArray[np.int32], size: int) -> Ids:
    """First document of each row when conversations are put one after the other, and the end."""
    ends = np.cumsum(lengths, dtype=np.int64)
    starts, filled = array("q", [0]), 0
    while starts[-1] < len(lengths):
        starts.append(int(np.searchsorted(ends, filled + size, side="right")))
        filled = int(ends[starts[-1] - 1])
    return np.array(starts, dtype=np.int64)


def shuffled(count: int, seed: int | None, epoch: int, stream: int) -> NDArray[np.int32]:
    """0 … count - 1, shuffled where there is a seed."""
    order = np.arange(count, dtype=np.int32)
    if seed is not None:
        np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, stream)))).shuffle(order)
    return order
