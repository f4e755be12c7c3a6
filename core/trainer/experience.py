"""What a rollout gave: completions of prompts, their rewards, and the numbers that belong to their tokens.

Batches are rows in which each prompt stands once before its completions, see `core.data.pairs`.

The tokens of all completions have one flat order, that of the completions' numbers; a batch knows the places of its
own in it. Legend: N tokens of completions, S completions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from core.data import pairs
from core.data.pairs import PairBatch
from core.trainer.tally import Mean


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and completions of it, each with its number among all of the rollout."""

    prompt_ids: Sequence[int]
    completions: Mapping[int, Sequence[int]]

    @property
    def num_tokens(self) -> int:
        return len(self.prompt_ids) + sum(map(len, self.completions.values()))


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """Some completions, as the answers of `rows`, and their numbers."""

    rows: PairBatch
    numbers: Tensor  # (S,)

    def to(self, device: torch.device) -> "CompletionBatch":
        return replace(self, rows=self.rows.to(device), numbers=self.numbers.to(device, non_blocking=True))

    def places(self, starts: Tensor) -> Tensor:
        """Where its tokens (N,) are in the flat order, in which completion s begins at starts[s]."""
        lengths, sequence = self.rows.lengths, self.rows.sequence
        here = lengths.cumsum(0) - lengths
        return torch.arange(len(sequence), device=sequence.device) + (starts[self.numbers] - here)[sequence]


@dataclass(slots=True)
class Experience:
    """A whole rollout. Numbers of completions count on from group to group."""

    groups: list[Group]
    lengths: Tensor  # (S,)
    rewards: Tensor  # (S,) without the penalties of completions that were cut
    is_cut: Tensor  # (S,) bool: max_new_tokens was reached before an end
    tokens: dict[str, Tensor] = field(default_factory=dict)  # (N,) by name: old, reference, advantages, values, …
    metrics: dict[str, Mean] = field(default_factory=dict)  # of the whole

    @property
    def starts(self) -> Tensor:
        """Place (S,) of each completion's first token."""
        return self.lengths.cumsum(0) - self.lengths

    @property
    def sequence(self) -> Tensor:
        """Each token's completion, (N,)."""
        return torch.arange(len(self.lengths), device=self.lengths.device).repeat_interleave(self.lengths)

    def batches(self, groups: Sequence[Group], *, row_tokens: int, num_rows: int) -> list["ExperienceBatch"]:
        """Micro batches of some of its groups, on its device."""
        found = []
        for batch in completion_batches(groups, row_tokens=row_tokens, num_rows=num_rows):
            moved = batch.to(self.lengths.device)
            places, numbers = moved.places(self.starts), moved.numbers
            tokens = {name: values[places] for name, values in self.tokens.items()}
            facts = {"reward": self.rewards[numbers], "length": self.lengths[numbers], "cut": self.is_cut[numbers]}
            metrics = {name: Mean(values.sum(), len(numbers)) for name, values in facts.items()}
            found.append(ExperienceBatch(moved.rows, places, tokens, {**metrics, **self.metrics}))
        return found


@dataclass(frozen=True, slots=True)
class ExperienceBatch:
    """Rows of an experience, with what is known of their tokens."""

    rows: PairBatch
    places: Tensor  # (N,) of its tokens in the flat order
    tokens: Mapping[str, Tensor]  # (N,) by name
    metrics: Mapping[str, Mean]  # what the rollout was like

    @property
    def num_tokens(self) -> int:
        return self.rows.num_tokens

    @property
    def num_sequences(self) -> int:
        return len(self.rows.lengths)


def completion_batches(groups: Sequence[Group], *, row_tokens: int, num_rows: int) -> list[CompletionBatch]:
    """Batches of at most num_rows rows of about row_tokens tokens, completions in the order of the groups.

    A prompt whose completions do not fit a row is repeated in the next ones.
    """
    rows: list[list[Group]] = [[]]
    used = 0
    for group in groups:
        for part in _parts(group, row_tokens):
            if used + part.num_tokens > row_tokens and used:
                rows.append([])
                used = 0
            rows[-1].append(part)
            used += part.num_tokens
    return [_batch(rows[first : first + num_rows]) for first in range(0, len(rows), num_rows)]


def _parts(group: Group, row_tokens: int) -> Iterator[Group]:
    """The group in parts that each fit a row, or hold one completion."""
    kept: dict[int, Sequence[int]] = {}
    used = len(group.prompt_ids)
    for number, ids in group.completions.items():
        if kept and used + len(ids) > row_tokens:
            yield Group(group.prompt_ids, kept)
            kept, used = {}, len(group.prompt_ids)
        kept[number] = ids
        used += len(ids)
    yield Group(group.prompt_ids, kept)


def _batch(rows: Sequence[Sequence[Group]]) -> CompletionBatch:
    laid = [
        [pairs.Group(_ids(group.prompt_ids), [_ids(ids) for ids in group.completions.values()]) for group in row]
        for row in rows
    ]
    numbers = [number for row in rows for group in row for number in group.completions]
    return CompletionBatch(pairs.collate(laid, torch.arange(sum(map(len, rows)))), torch.tensor(numbers))


def _ids(ids: Sequence[int]) -> pairs.Ids:
    return np.asarray(ids, dtype=np.int64)
