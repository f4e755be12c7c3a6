"""Whether the library holds an answer, decided before one is made up.

Two signs speak for the best passages: the score that put them in order, in which a telling word of the question that
stands nowhere costs most, and how far the nearest vector stands out. How far one stands out by chance depends on the
embedder and on the documents, so it is measured for each choice of collections, with questions put together at random
from their own words. A question in another script than its passages has no words in common with them, so that its
vector decides alone. The weights are a logistic regression by `launch.py bench rag --tune`.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rag.fusion import HAN_SHARE
from rag.hits import Hit
from rag.text import fold, han_share

LOOKED_AT = 3  # of the hits, for the vector that stands out
NULL_QUERIES = 64
NULL_PIECES = 6
NULL_PERCENTILE = 95


@dataclass(frozen=True, slots=True)
class Signs:
    """What decides: the best score, and the best deviation over that of chance."""

    score: float
    excess: float
    is_foreign: bool

    @classmethod
    def of(cls, query: str, hits: Sequence[Hit], null_deviations: float) -> "Signs":
        """The signs of the hits of a question, of which there are some."""
        excess = max(hit.deviations for hit in hits[:LOOKED_AT]) - null_deviations
        is_foreign = (han_share(query) >= HAN_SHARE) != (han_share(hits[0].text) >= HAN_SHARE)
        return cls(hits[0].score, excess, is_foreign)


@dataclass(frozen=True, slots=True)
class Gate:
    """The weights of the signs, and the probability from which there is an answer."""

    bias: float = -5.917
    score: float = 4.007
    excess: float = 0.698
    foreign_bias: float = 3.0  # above the fitted 1.125: a wrong refusal costs more where passages are hard to find
    foreign_excess: float = 1.406
    threshold: float = 0.5

    def probability(self, signs: Signs) -> float:
        """How likely the best hits answer."""
        if signs.is_foreign:
            return _logistic(self.foreign_bias + self.foreign_excess * signs.excess)
        return _logistic(self.bias + self.score * signs.score + self.excess * signs.excess)


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
    if han_share(passage) >= HAN_SHARE:
        start = draw.randrange(max(len(passage) - 3, 1))
        return passage[start : start + 3]
    words = fold(passage).split()
    return draw.choice(words) if words else ""


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, value))))
