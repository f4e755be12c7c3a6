"""Prompts with their completions as rows of a batch, and the numbers that belong to the completions' tokens.

A row holds prompts, each once, with completions behind it that see the prompt and not each other:

    document    0 0 0 0 0 0 0 1 1 1 1 | …
    branch      0 0 0 1 1 2 2 0 0 1 1        0 prompt, then one for each completion
    position    0 1 2 3 4 3 4 0 1 2 3

The tokens of all completions have one flat order, that of the completions; a batch knows the places of its own.
Legend: B rows, T time, N tokens of completions, S completions.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and some completions of it, each with its number among all."""

    prompt_ids: Sequence[int]
    completions: Mapping[int, Sequence[int]]

    def num_tokens(self) -> int:
        return len(self.prompt_ids) + sum(map(len, self.completions.values()))


@dataclass(frozen=True, slots=True)
class CompletionBatch:
    """B rows, and where in B · T the completions' tokens are."""

    input_ids: Tensor  # (B, T) int64
    position_ids: Tensor  # (B, T) int64
    document_ids: Tensor  # (B, T) int64
    branch_ids: Tensor  # (B, T) int64
    source: Tensor  # (N,) the place whose hidden state predicts the token: the one before it
    target: Tensor  # (N,) the token
    sequence: Tensor  # (N,) its completion's number in this batch, 0 … S - 1
    ends: Tensor  # (S,) the place of each completion's last token
    numbers: Tensor  # (S,) each completion's number among all
    num_tokens: int  # without padding

    @property
    def num_sequences(self) -> int:
        return len(self.ends)

    def to(self, device: torch.device) -> "CompletionBatch":
        moved = {
            field.name: getattr(self, field.name).to(device, non_blocking=True)
            for field in fields(self)
            if field.name != "num_tokens"
        }
        return replace(self, **moved)

    def inputs(self) -> dict[str, Tensor]:
        """What a decoder is called with."""
        names = ("input_ids", "position_ids", "document_ids", "branch_ids")
        return {name: getattr(self, name) for name in names}

    def places(self, starts: Tensor) -> Tensor:
        """Where its tokens (N,) are in the flat order, in which completion s begins at starts[s]."""
        first = torch.searchsorted(self.sequence, torch.arange(self.num_sequences, device=self.sequence.device))
        within = torch.arange(len(self.sequence), device=self.sequence.device) - first[self.sequence]
        return starts[self.numbers[self.sequence]] + within


def completion_batches(groups: Sequence[Group], *, row_tokens: int, rows: int) -> list[CompletionBatch]:
    """Batches of at most `rows` rows of at most `row_tokens` tokens, completions in the order of the groups.

    A prompt whose completions do not fit one row is repeated in the next ones.
    """
    packed: list[list[Group]] = [[]]
    used = 0
    for group in groups:
        for part in _parts(group, row_tokens):
            if used + part.num_tokens() > row_tokens and used:
                packed.append([])
                used = 0
            packed[-1].append(part)
            used += part.num_tokens()
    return [_batch(packed[first : first + rows]) for first in range(0, len(packed), rows)]


def _parts(group: Group, row_tokens: int) -> Iterator[Group]:
    """The group in parts that each fit a row; a single completion that does not is a bug of ours."""
    kept: dict[int, Sequence[int]] = {}
    used = len(group.prompt_ids)
    for number, ids in group.completions.items():
        assert len(group.prompt_ids) + len(ids) <= row_tokens, (len(group.prompt_ids), len(ids), row_tokens)
        if used + len(ids) > row_tokens:
            yield Group(group.prompt_ids, kept)
            kept, used = {}, len(group.prompt_ids)
        kept[number] = ids
        used += len(ids)
    yield Group(group.prompt_ids, kept)


def _batch(rows: Sequence[Sequence[Group]]) -> CompletionBatch:
    """Fill the rows up to the longest one."""
    time = max(sum(group.num_tokens() for group in row) for row in rows)
    input_ids, position_ids, branch_ids = (torch.zeros(len(rows), time, dtype=torch.int64) for _ in range(3))
    document_ids = torch.full((len(rows), time), -1)
    source, target_places, numbers = [], [], []
    for number, row in enumerate(rows):
        end = 0
        for document, group in enumerate(row):
            start, end = end, end + group.num_tokens()
            prompt_end = start + len(group.prompt_ids)
            document_ids[number, start:end] = document
            for branch, (first, ids) in enumerate(_placed(group, start)):
                span = slice(first, first + len(ids))
                position = 0 if branch == 0 else prompt_end - start
                input_ids[number, span] = torch.as_tensor(ids)
                position_ids[number, span] = torch.arange(position, position + len(ids))
                branch_ids[number, span] = branch
                if branch:
                    places = torch.arange(span.start, span.stop) + number * time
                    target_places.append(places)
                    source.append(torch.cat((torch.tensor([number * time + prompt_end - 1]), places[:-1])))
            numbers += group.completions
    lengths = torch.tensor([len(places) for places in target_places])
    return CompletionBatch(
        input_ids,
        position_ids,
        document_ids,
        branch_ids,
        source=torch.cat(source),
        target=input_ids.flatten()[torch.cat(target_places)],
        sequence=torch.arange(len(lengths)).repeat_interleave(lengths),
        ends=torch.stack([places[-1] for places in target_places]),
        numbers=torch.tensor(numbers),
        num_tokens=sum(group.num_tokens() for row in rows for group in row),
    )


def _placed(group: Group, start: int) -> Iterator[tuple[int, Sequence[int]]]:
    """The prompt and each completion, with the place in the row where it begins."""
    for ids in (group.prompt_ids, *group.completions.values()):
        yield start, ids
        start += len(ids)
