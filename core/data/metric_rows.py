"""Which rows of a run's `metrics.jsonl` count, when attempts did some steps again. Reads nothing, needs no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def replaced_from(first_steps: Mapping[int, int]) -> dict[int, float]:
    """For each attempt the step from which on a later one did its steps again; infinity where none did.

    `first_steps` holds the first step of each attempt.
    """
    limits, limit = {}, math.inf
    for attempt in sorted(first_steps, reverse=True):
        limits[attempt] = limit
        limit = min(limit, first_steps[attempt])
    return limits


def latest_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that count: what a later attempt did again, from its first step on, replaces what was before."""
    firsts: dict[int, int] = {}
    for row in rows:
        firsts[row["attempt"]] = min(row["step"], firsts.get(row["attempt"], row["step"]))
    limits = replaced_from(firsts)
    return [row for row in rows if row["step"] < limits[row["attempt"]]]
