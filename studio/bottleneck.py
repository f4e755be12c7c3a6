"""What limits the speed of a run now, told from the last rows of its metrics.

`efficiency` in them is measured against the most that this device does, so a run that is slow for no reason of its own
shows as well as one that waits for data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NUM_ROWS = 20
# Shares from which on a cause is the one to name, in the order of `LimitKind`.
DATA_WAIT, BESIDE_STEPS, OPTIMIZER, GOOD_EFFICIENCY = 0.10, 0.25, 0.30, 0.40
# So full a memory makes the system, or the GPU's allocator, work for every page.
FULL_MEMORY = 0.92
FIGURES = ("data_wait", "beside_steps", "optimizer", "efficiency", "tokens_per_s", "memory_bytes")


class LimitKind(StrEnum):
    """What is named, and the first thing to try."""

    MEMORY = "memory"  # nearly full: a smaller micro batch, gradient checkpointing
    DATA = "data"  # steps wait for rows: a faster disk, fewer other programs
    BESIDE = "beside"  # validating, saving, sampling: longer intervals
    OPTIMIZER = "optimizer"  # many small steps: a larger global batch
    COMPUTE = "compute"  # the device does what it can
    OTHER = "other"  # it could do more: larger micro batches, no other program on it


@dataclass(frozen=True, slots=True)
class Limit:
    """`share` is that of the time which the cause takes; of memory how full it is, of compute and other how much of
    the measured peak is reached. `figures` are means over the last rows."""

    kind: LimitKind
    share: float
    figures: dict[str, float]


def what_limits(rows: Sequence[Mapping[str, Any]], *, memory_bytes: int = 0) -> Limit | None:
    """What limits a run by its newest rows, of which those of validations are passed over; None before there are any.

    `memory_bytes` is what the device has, 0 where that is not known.
    """
    last = [row for row in rows if isinstance(row.get("tokens_per_s"), int | float)][-NUM_ROWS:]
    if not last:
        return None
    figures = {name: _mean(last, name) for name in FIGURES}
    full = figures["memory_bytes"] / memory_bytes if memory_bytes else 0.0
    shares = (
        (LimitKind.MEMORY, full, FULL_MEMORY),
        (LimitKind.DATA, figures["data_wait"] * (1 - figures["beside_steps"]), DATA_WAIT),
        (LimitKind.BESIDE, figures["beside_steps"], BESIDE_STEPS),
        (LimitKind.OPTIMIZER, figures["optimizer"] * (1 - figures["beside_steps"]), OPTIMIZER),
        (LimitKind.COMPUTE, figures["efficiency"], GOOD_EFFICIENCY),
    )
    for kind, share, limit in shares:
        if share >= limit:
            return Limit(kind, share, figures)
    return Limit(LimitKind.OTHER, figures["efficiency"], figures)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
    return sum(values) / len(values) if values else 0.0
