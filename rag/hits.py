"""What a search returns, and how passages that stand side by side become one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rag.documents import Box, Line


@dataclass(frozen=True, slots=True)
class Leg:
    """Where one way of searching placed a passage: from 1, or None where it did not find it by itself."""

    rank: int | None
    score: float


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another place that says what a hit says: characters [start, end) of a document's text."""

    path: Path
    collection: str
    document_id: int
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found: characters [start, end) of its document's text.

    `coverage` is the share of the question's telling terms that it has, `deviations` how far its cosine stands out from
    those of passages at large; `legs` says where each way of searching placed it; `also` lists copies and near
    repetitions, of which only this one is shown.
    """

    path: Path
    collection: str
    title: str
    kind: str
    document_id: int
    content_id: int
    chunk_id: int
    page: int | None
    start: int
    end: int
    text: str
    headings: tuple[str, ...]
    score: float
    coverage: float
    deviations: float
    legs: Mapping[str, Leg]
    lines: tuple[Line, ...] = ()
    also: tuple[Elsewhere, ...] = ()

    @property
    def boxes(self) -> list[tuple[int, Box]]:
        """Page and box of every line of the passage; none for a file without pages."""
        from rag.parsing import passage_boxes

        return passage_boxes(self.lines, self.start, self.end)


def touches(one: Hit, other: Hit) -> bool:
    """Whether two passages of one document follow each other or overlap."""
    return one.content_id == other.content_id and one.start <= other.end + 2 and other.start <= one.end + 2
