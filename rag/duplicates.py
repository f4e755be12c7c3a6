"""Passages that say nearly what a better one says: drafts of a contract, small print below every letter.

Likeness is Jaccard's over runs of three terms. A version in which a number, a name or a denial differs is no
repetition, and may be the one that was asked for: two such versions are shown, further ones are repetitions.
"""

from dataclasses import dataclass

from rag.claims import Claims
from rag.rows import ChunkRow

NEARLY = 0.8
MAX_VERSIONS = 2

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A passage that is shown, as part of the hit with this number."""

    hit: int
    chunk: ChunkRow
    shingles: Shingles

    def says(self, chunk: ChunkRow) -> bool:
        """Whether it says the same as a passage that is like it."""
        return self.chunk.terms == chunk.terms or Claims.of(self.chunk.text).equal(Claims.of(chunk.text))


class Shown:
    """The passages that are shown so far."""

    def __init__(self) -> None:
        self._passages: list[_Shown] = []

    def repeated(self, chunk: ChunkRow) -> int | None:
        """The number of the hit that a passage repeats; None for one that says something else."""
        shingles = _shingles(chunk.terms)
        like = [shown for shown in self._passages if _likeness(shown.shingles, shingles) >= NEARLY]
        if not like:
            return None
        oldest = like[0] if len(like) >= MAX_VERSIONS else None
        repeated = next((shown for shown in like if shown.says(chunk)), oldest)
        return None if repeated is None else repeated.hit

    def add(self, chunk: ChunkRow, hit: int) -> None:
        """Take in a passage as part of a hit."""
        self._passages.append(_Shown(hit, chunk, _shingles(chunk.terms)))


def _shingles(terms: str) -> Shingles:
    words = terms.split(" ")
    return frozenset(zip(words, words[1:], words[2:], strict=False)) or frozenset({tuple(words)})


def _likeness(one: Shingles, other: Shingles) -> float:
    if min(len(one), len(other)) < NEARLY * max(len(one), len(other)):
        return 0.0
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
