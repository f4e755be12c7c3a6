"""Where the answers stand in a tokenised conversation, by its loss mask."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def answer_start(mask: NDArray[np.uint8]) -> int:
    """Where the last answer begins, that is the last run of at least two masked tokens; 0 without any.

    The mask (T,) has 1 on answers with the ends of their turns, and on the end of the whole text, a run of one token.
    """
    runs = np.flatnonzero(np.diff(mask, prepend=0, append=0)).reshape(-1, 2)
    starts = runs[np.diff(runs, axis=1)[:, 0] > 1, 0]
    return int(starts[-1]) if len(starts) else 0


def answer_span(tokens: NDArray[np.generic], mask: NDArray[np.uint8], stop_ids: Ids) -> tuple[int, int]:
    """First token and length of the answer: from the first masked token to the one that ends the turn."""
    masked = np.flatnonzero(mask)
    if not len(masked):
        return len(tokens), 0
    first = int(masked[0])
    gaps = np.flatnonzero(np.diff(masked) > 1)
    end = int(masked[gaps[0] if len(gaps) else -1]) + 1
    stops = np.flatnonzero(np.isin(tokens[first:end], stop_ids))
    return first, int(stops[0]) + 1 if len(stops) else end - first
