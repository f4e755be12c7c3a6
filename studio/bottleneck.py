"""What limits the speed of a run now, from its metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Limit:
    """`kind` is data, compute, memory or other; `share` says how much of the time or of the peak."""

    kind: str
    share: float
    figures: dict[str, float]


def what_limits(rows: Sequence[Mapping[str, Any]], *, memory_bytes: int = 0) -> Limit | None:
    """What limits a run in its last rows; None before there is a row to tell from."""
    raise NotImplementedError
