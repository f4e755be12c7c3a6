"""Answers that a grammar allows: token masks by llguidance."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Constraint(Protocol):
    """What may follow in one answer. Its state moves on by `advance` alone, once for each token."""

    def mask(self, scores: NDArray[np.float32]) -> None:
        """Set the scores (V,) of tokens that may not follow to -inf, in place."""

    def advance(self, token: int) -> None:
        """Take in the chosen token."""
