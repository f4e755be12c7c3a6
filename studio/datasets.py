"""What is in files that somebody wants to train on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was recognised in one file; `kinds` counts its rows as pt, sft and preference."""

    file: str
    num_bytes: int
    kinds: dict[str, int]
    num_bad: int
    num_rows: int  # of the whole file: estimated where it was not read to its end
    is_sampled: bool


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is left out; row 0 is the whole file."""

    file: str
    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The beginning of an example: (role, text) of each part."""

    file: str
    row: int
    kind: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """What was found in all files that were looked at."""

    files: tuple[FileReport, ...]
    kind: str | None  # what `prepare` would take: pt, sft, preference or None for nothing usable
    kinds: dict[str, int]  # rows that were read, by kind
    stages: tuple[str, ...]  # stages of training that the files suit
    num_rows: int  # of all files, estimated where sampled
    num_bytes: int
    unit: str  # of the lengths: tokens or characters
    length_edges: tuple[int, ...]  # bounds of the histogram's bins, one more than bins
    length_counts: tuple[int, ...]
    longest: int
    median: int
    preview: tuple[Preview, ...]
    num_exact_duplicates: int  # among the rows that were read
    num_near_duplicates: int
    duplicate_examples: tuple[tuple[str, str], ...]  # places (dropped, kept)
    bad_rows: tuple[BadRow, ...]  # the first ones
    num_bad: int
    is_sampled: bool  # not everything was read


def look_at(
    paths: Sequence[Path], *, tokenizer: Tokenizer | None = None, should_stop: Callable[[], bool] | None = None
) -> DataReport:
    """Read the beginning of files and folders and say what is in them. Raises DataError for a path that is not there."""
    raise NotImplementedError
