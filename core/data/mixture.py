"""Several data sets as one: each gives its share of the rows.

After any number of rows each part has given its share of them, to one row per part: whole numbers spread
evenly (as Bresenham draws a line), so a step's composition hardly varies and a row's place follows from its
number alone. A part that is used up starts its next epoch; the others go on.

    shares 3/4, 1/4    a a b a  a a b a  a a b a  …
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, Protocol, Self, TypeVar

import numpy as np

from core.data.dataset import Ids, Rows
from core.data.sampler import RowSampler
from core.errors import Sentence

# Shares are held as whole parts of this many, so that counting is exact.
SHARE_UNITS = 1_000_000


class Joinable(Protocol):
    """A batch that takes rows of another."""

    def joined(self, others: Sequence[Self]) -> Self:
        """These rows and then those of the others."""


B = TypeVar("B", bound=Joinable)


@dataclass(frozen=True, slots=True)
class Part(Generic[B]):
    """One data set of a mixture: `share` of all rows, in (0, 1]."""

    name: str
    rows: Rows[B]
    share: float


class Mixture(Generic[B]):
    """The rows of several data sets. An epoch is as long as it takes the first part to go round once."""

    def __init__(self, parts: Sequence[Part[B]]) -> None:
        self._parts = parts
        self._units = [round(part.share * SHARE_UNITS) for part in parts]
        assert min(self._units) > 0, self._units
        self._samplers = [RowSampler(part.rows.num_rows, 1) for part in parts]
        self._num_rows = round(parts[0].rows.num_rows(0) * Fraction(sum(self._units), self._units[0]))

    @property
    def problems(self) -> list[str]:
        return [
            Sentence("{name}: {problem}", name=part.name, problem=problem)
            for part in self._parts
            for problem in part.rows.problems
        ]

    def num_rows(self, epoch: int) -> int:
        """The same in every epoch."""
        return self._num_rows

    def locate(self, row: int) -> tuple[int, int]:
        """(part, number among that part's rows) of a row counted over all epochs."""
        left = sum(self._units)
        for part, units in enumerate(self._units):
            before, after = ((place * units + left // 2) // left for place in (row, row + 1))
            if after > before:
                return part, before
            row, left = row - before, left - units
        raise AssertionError("the last part takes what is left")

    def row_tokens(self, epoch: int) -> Ids:
        """Tokens of each row, (rows,)."""
        of_parts = [part.rows.row_tokens(0) for part in self._parts]
        places = (self.locate(epoch * self._num_rows + index) for index in range(self._num_rows))
        return np.array([of_parts[part][number % len(of_parts[part])] for part, number in places], dtype=np.int64)

    def batch(self, places: Sequence[tuple[int, int]]) -> B:
        """The rows at these (epoch, index) places, those of one part beside each other."""
        by_part: dict[int, list[tuple[int, int]]] = {}
        for epoch, index in places:
            part, number = self.locate(epoch * self._num_rows + index)
            by_part.setdefault(part, []).append(self._samplers[part].locate(number))
        first, *others = (self._parts[part].rows.batch(by_part[part]) for part in sorted(by_part))
        return first.joined(others) if others else first
