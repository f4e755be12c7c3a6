"""Pairs of a better and a worse answer as rows in which the prompt stands once.

Everything is a pure function of (seed, epoch, index), as for other data. A row holds whole pairs; both answers of a
pair see its prompt and themselves, and their positions go on from it, so each is as if it stood alone after the prompt.
The prompt's last token predicts the first token of both answers: predictions are a flat list.

    pair         prompt p p p, chosen c c, rejected r r r
    row          p p p c c r r r | the next pair …
    branch_ids   0 0 0 1 1 2 2 2      position_ids  0 1 2 3 4 3 4 5

An answer ends with the token that ends its turn: what a template puts behind it, the model never says. Legend: B rows,
T tokens of a row, P pairs, S answers (of pair p chosen is 2p and rejected 2p + 1), N predictions.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import accumulate, repeat
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from core.data.answers import answer_span
from core.data.mmap_file import MmapFileHandler
from core.errors import DataError, Sentence

Ids = NDArray[np.int64]
# A batch is as wide as its longest row, up to a multiple of this.
WIDTH_STEP = 8
# A pair goes into the first of so many rows that has room: next-fit leaves a fifth of the rows empty.
OPEN_ROWS = 64


@dataclass(frozen=True, slots=True)
class PairBatch:
    """B rows of T tokens, and what their answers predict."""

    input_ids: Tensor  # (B, T) int64
    position_ids: Tensor  # (B, T) int64, from 0 in each prompt
    document_ids: Tensor  # (B, T) int64, which pair of the row; what fills the row up has a number of its own
    branch_ids: Tensor  # (B, T) int64, 0 in a prompt, then the number of the answer, from 1
    source: Tensor  # (N,) int64, place in B·T of the token that predicts
    target: Tensor  # (N,) int64, the token that is predicted
    sequence: Tensor  # (N,) int64, the answer it belongs to, ascending
    lengths: Tensor  # (S,) int64, tokens of each answer
    ends: Tensor  # (S,) int64, place in B·T of each answer's last token
    pairs: Tensor  # (P,) int64, number of each pair in its split
    differ: Tensor  # (P,) bool, whether the two answers are different: equal ones are an example and no preference
    num_tokens: int  # without what fills the rows up
    reference: Tensor | None = None  # (S,) the reference's log-probability of each answer, where it is known
    mismatched: "PairBatch | None" = None  # each prompt with the answer to another, S = P

    @property
    def num_pairs(self) -> int:
        return len(self.pairs)

    def to(self, device: torch.device) -> "PairBatch":
        return _each(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "PairBatch":
        """In memory that a GPU reads by itself, so that `to` does not wait."""
        return _each(self, Tensor.pin_memory)

    def joined(self, others: Sequence["PairBatch"]) -> "PairBatch":
        """These rows and then those of the others, whose pairs keep their own numbers."""
        batches = (self, *others)
        width = max(batch.input_ids.shape[1] for batch in batches)
        first_rows = accumulate((len(batch.input_ids) for batch in batches), initial=0)
        first_answers = accumulate((len(batch.lengths) for batch in batches), initial=0)
        moved = list(map(_moved, batches, repeat(width), first_rows, first_answers))
        tensors: dict[str, Any] = {
            field.name: torch.cat([getattr(batch, field.name) for batch in moved])
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor)
        }
        mismatched = [batch.mismatched for batch in batches if batch.mismatched is not None]
        return replace(
            self,
            **tensors,
            num_tokens=sum(batch.num_tokens for batch in batches),
            mismatched=mismatched[0].joined(mismatched[1:]) if mismatched else None,
        )


def _each(batch: PairBatch, change: Callable[[Tensor], Tensor]) -> PairBatch:
    """The batch with every tensor changed."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    changed: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
    return replace(batch, **changed, mismatched=batch.mismatched and _each(batch.mismatched, change))


def _moved(batch: PairBatch, width: int, first_row: int, first_answer: int) -> PairBatch:
    """The batch in rows of another width, which stand and count behind others."""
    old = batch.input_ids.shape[1]

    def widened(tensor: Tensor, value: int = 0) -> Tensor:
        return F.pad(tensor, (0, width - old), value=value)

    def placed(places: Tensor) -> Tensor:
        return (places // old + first_row) * width + places % old

    return replace(
        batch,
        input_ids=widened(batch.input_ids),
        position_ids=widened(batch.position_ids),
        document_ids=widened(batch.document_ids, int(batch.document_ids.max()) + 1),
        branch_ids=widened(batch.branch_ids),
        source=placed(batch.source),
        ends=placed(batch.ends),
        sequence=batch.sequence + first_answer,
    )


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and answers that share it."""

    prompt: Ids
    answers: Sequence[Ids]

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.answers))


class PairDataset:
    """One split of a preference data set as rows of at most 2 · max_seq_len tokens.

    That holds any pair whose longer answer fits max_seq_len with its prompt, and several shorter ones.
    """

    def __init__(
        self,
        handler: MmapFileHandler,
        split: str,
        *,
        max_seq_len: int,
        stop_ids: Collection[int],
        seed: int | None,
        with_mismatched: bool = False,
    ) -> None:
        """`seed` None keeps the pairs in their order on disk; `with_mismatched` gives batches with `mismatched`.

        Raises DataError when the prompts of a pair differ, or no pair fits.
        """
        self.handler, self.split, self.max_seq_len, self.seed = handler, split, max_seq_len, seed
        self.with_mismatched = with_mismatched
        self.reference: Tensor | None = None  # (pairs of the split, 2), set once it is known
        self.reference_mismatched: Tensor | None = None  # (pairs of the split,)
        found = _find_answers(handler, split, np.array(sorted(stop_ids)))
        handler.release_memory()
        longest = found[:, 1:].max(axis=1, initial=0)
        is_whole = (found[:, 0] > 0) & (found[:, 1:].min(axis=1, initial=1) > 0)
        fits = is_whole & (longest < max_seq_len)
        room = max_seq_len - longest
        self._num_empty, self._num_dropped = int((~is_whole).sum()), int((is_whole & ~fits).sum())
        self._num_cut = int((found[fits, 0] > room[fits]).sum())
        self._rows = lru_cache(maxsize=2)(self._plan)  # a step may end one epoch and begin the next
        self.pairs = np.flatnonzero(fits)  # those that are used
        self._prompt_ends, self._answers = found[fits, 0], found[fits, 1:]
        self._prompts = np.minimum(self._prompt_ends, room[fits])
        if not len(self.pairs):
            raise DataError(
                "No pair of the {split} split can be used: {problems}.",
                "Raise max_seq_len.",
                split=split,
                problems=tuple(self.problems),
            )

    @property
    def num_pairs(self) -> int:
        """Pairs of the split, those that do not fit too."""
        return self.handler.num_documents(self.split) // 2

    @property
    def problems(self) -> list[str]:
        """Pairs that were cut or left out."""
        size = self.max_seq_len
        counted = (
            Sentence(
                "{count:,} pairs lost the beginning of their prompt to fit {size} tokens",
                count=self._num_cut,
                size=size,
            ),
            Sentence(
                "{count:,} pairs have an answer of {size} tokens or more and are left out",
                count=self._num_dropped,
                size=size,
            ),
            Sentence("{count:,} pairs have no prompt or no answer and are left out", count=self._num_empty),
        )
        return [told for told in counted if told.values["count"]]

    def num_rows(self, epoch: int) -> int:
        return len(self._rows(epoch))

    @property
    def mean_row_tokens(self) -> float:
        """Tokens of a row, without what fills it up: their mean over an epoch."""
        return float(self._sizes.sum()) / self.num_rows(0)

    def row_tokens(self, epoch: int) -> Ids:
        """Tokens of each row, (rows,)."""
        sizes = self._sizes
        return np.array([sizes[row].sum() for row in self._rows(epoch)], dtype=np.int64)

    def batch(self, places: Sequence[tuple[int, int]]) -> PairBatch:
        """The rows at these (epoch, index) places."""
        return self._batch([self._rows(epoch)[index] for epoch, index in places])

    def unpacked(self, batch: PairBatch) -> list[PairBatch]:
        """The pairs of a batch, each in a row of its own."""
        return [self._batch([[place]]) for place in np.searchsorted(self.pairs, batch.pairs.numpy()).tolist()]

    def _batch(self, rows: list[list[int]]) -> PairBatch:
        """Rows of places in `pairs`."""
        batch = self._collated([[self._pair(place) for place in row] for row in rows], rows, self.reference)
        if not self.with_mismatched:
            return batch
        others = [[self._mismatch(place) for place in row] for row in rows]
        return replace(batch, mismatched=self._collated(others, rows, self.reference_mismatched))

    def _plan(self, epoch: int) -> list[list[int]]:
        """Rows of an epoch as places in `pairs`."""
        order = _permutation(len(self.pairs), self.seed, epoch, 0)
        rows = [order[row].tolist() for row in _packed(self._sizes[order], 2 * self.max_seq_len)]
        return [rows[row] for row in _permutation(len(rows), self.seed, epoch, 1)]

    @property
    def _sizes(self) -> Ids:
        """Tokens of each of `pairs`, its prompt counted once."""
        sizes: Ids = self._prompts + self._answers.sum(axis=1)
        return sizes

    def _pair(self, place: int) -> Group:
        return Group(self._prompt(place), [self._answer(place, side) for side in (0, 1)])

    def _mismatch(self, place: int) -> Group:
        """The prompt of a pair with the chosen answer of the next one, the same in every epoch."""
        answer = self._answer((place + 1) % len(self.pairs), 0)
        return Group(self._prompt(place)[-(self.max_seq_len - len(answer)) :], [answer])

    def _prompt(self, place: int) -> Ids:
        end, length = self._prompt_ends[place], self._prompts[place]
        return self.handler.ids(self.split, 2 * int(self.pairs[place]), end - length, end)

    def _answer(self, place: int, side: int) -> Ids:
        first, length = self._prompt_ends[place], self._answers[place, side]
        return self.handler.ids(self.split, 2 * int(self.pairs[place]) + side, first, first + length)

    def _collated(self, groups: list[list[Group]], rows: list[list[int]], reference: Tensor | None) -> PairBatch:
        pairs = torch.from_numpy(self.pairs[[place for row in rows for place in row]])
        return collate(groups, pairs, None if reference is None else reference[pairs].flatten())


def collate(rows: Sequence[Sequence[Group]], pairs: Tensor, reference: Tensor | None = None) -> PairBatch:
    """Lay groups out in rows of one width. `pairs` names the groups, in their order."""
    laid = [_lay_out(row) for row in rows]
    width = -(-max(one.columns.shape[1] for one in laid) // WIDTH_STEP) * WIDTH_STEP
    columns = np.zeros((4, len(rows), width), dtype=np.int64)
    for number, one in enumerate(laid):
        columns[:, number, : one.columns.shape[1]] = one.columns
        columns[2, number, one.columns.shape[1] :] = len(rows[number])
    places = [(number * width, one) for number, one in enumerate(laid)]
    lengths = np.array([len(target) for one in laid for target in one.targets])
    ids, positions, documents, branches = torch.from_numpy(columns)
    return PairBatch(
        ids,
        positions,
        documents,
        branches,
        source=torch.from_numpy(np.concatenate([first + source for first, one in places for source in one.sources])),
        target=torch.from_numpy(np.concatenate([target for one in laid for target in one.targets])),
        sequence=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        lengths=torch.from_numpy(lengths),
        ends=torch.from_numpy(np.concatenate([first + np.array(one.ends) for first, one in places])),
        pairs=pairs,
        differ=torch.tensor([_differ(group.answers) for row in rows for group in row]),
        num_tokens=sum(one.columns.shape[1] for one in laid),
        reference=reference,
    )


def _differ(answers: Sequence[Ids]) -> bool:
    return not np.array_equal(answers[0], answers[-1]) if len(answers) > 1 else True


@dataclass(frozen=True, slots=True)
class _Row:
    columns: Ids  # (4, n): input_ids, position_ids, document_ids, branch_ids
    sources: list[Ids]  # places in the row that predict each answer
    targets: list[Ids]
    ends: list[int]


def _lay_out(row: Sequence[Group]) -> _Row:
    columns, sources, targets, ends, place = [], [], [], [], 0
    for document, group in enumerate(row):
        size = len(group.prompt)
        prompt_end = place + size - 1
        for branch, part in enumerate((group.prompt, *group.answers)):
            count = np.arange(len(part))
            same = np.ones_like(count)
            columns.append(np.stack((part, count + (size if branch else 0), same * document, same * branch)))
            if branch:
                sources.append(np.append(prompt_end, place + count[:-1]))
                targets.append(part)
                ends.append(place + len(part) - 1)
            place += len(part)
    return _Row(np.concatenate(columns, axis=1), sources, targets, ends)


def _find_answers(handler: MmapFileHandler, split: str, stop_ids: Ids) -> Ids:
    """Tokens of the prompt, the chosen and the rejected answer of every pair, (pairs, 3); 0 for what is not there.

    Raises DataError when the two prompts of a pair are not the same.
    """
    found = np.zeros((handler.num_documents(split) // 2, 3), dtype=np.int64)
    for pair in range(len(found)):
        spans = []
        for document in (2 * pair, 2 * pair + 1):
            tokens, mask = handler.tokens(split, document), handler.loss_mask(split, document)
            assert mask is not None, "pairs carry a loss mask"
            spans.append((tokens, *answer_span(tokens, mask, stop_ids)))
        (chosen, first, length), (rejected, other_first, other_length) = spans
        if first != other_first or not np.array_equal(chosen[:first], rejected[:first]):
            raise DataError(
                "The prompts of pair {pair:,} of the {split} split differ.",
                "Prepare the data again with a chat template that puts the answer last.",
                pair=int(pair),
                split=split,
            )
        found[pair] = first, length, other_length
    return found


def _packed(sizes: Ids, capacity: int) -> list[list[int]]:
    """Places of `sizes` in rows of at most `capacity`: each in the first of the last OPEN_ROWS rows with room."""
    rows: list[list[int]] = []
    room: list[int] = []
    for place, size in enumerate(sizes.tolist()):
        first = max(len(rows) - OPEN_ROWS, 0)
        fitting = next((row for row in range(first, len(rows)) if room[row] >= size), None)
        if fitting is None:
            rows.append([])
            room.append(capacity)
            fitting = len(rows) - 1
        rows[fitting].append(place)
        room[fitting] -= size
    return rows


def _permutation(count: int, seed: int | None, epoch: int, stream: int) -> Ids:
    """An order that is a function of seed, epoch and stream; without a seed the natural one."""
    if seed is None:
        return np.arange(count)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, epoch, stream)))).permutation(count)
