"""Whether the library holds an answer, decided before one is made up.

Two signs speak for the best passages: the share of the question's telling terms that stand there, in which a term that
no document has weighs most, and how far its vector stands out. How far a vector stands out by chance depends on the
embedder and on the documents, so it is measured for each choice of collections, with questions put together at random
from their own words. The weights are a logistic regression by `launch.py bench rag`.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.hits import Hit
from rag.text import fold, han_share

LOOKED_AT = 3  # of the hits
NULL_QUERIES = 64
NULL_PIECES = 6
NULL_PERCENTILE = 95


@dataclass(frozen=True, slots=True)
class Gate:
    """The weights of the signs, and the probability from which there is an answer."""

    bias: float = -6.0
    coverage: float = 9.0
    similarity: float = 0.6
    threshold: float = 0.5

    def probability(self, hits: Sequence[Hit], null_deviations: float) -> float:
        """How likely one of the best hits answers; `null_deviations` is what chance reaches."""
        signs = [
            self.coverage * hit.coverage + self.similarity * (hit.deviations - null_deviations)
            for hit in hits[:LOOKED_AT]
        ]
        return 1 / (1 + math.exp(-(self.bias + max(signs)))) if signs else 0.0


def null_queries(passages: Sequence[str]) -> list[str]:
    """Questions that mean nothing, from the words of passages: a piece of each of a few, at random but always equal."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    if not passages:
        return []
    return [" ".join(_piece(draw.choice(passages), draw) for _ in range(NULL_PIECES)) for _ in range(NULL_QUERIES)]


def null_deviations(best: Sequence[float]) -> float:
    """What the best deviation of a meaningless question reaches, but for one in twenty."""
    return float(np.percentile(best, NULL_PERCENTILE)) if best else 0.0


def _piece(passage: str, draw: random.Random) -> str:
    if han_share(passage) > 0.5:
        start = draw.randrange(max(len(passage) - 3, 1))
        return passage[start : start + 3]
    words = fold(passage).split()
    return draw.choice(words) if words else ""
