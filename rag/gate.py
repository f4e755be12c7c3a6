"""Whether the library holds an answer, decided before one is made up.

Two signs speak for the best passages: the score that put them in order, in which a telling word of the question that
stands nowhere costs most, and how near the nearest vector is. How near one is by chance depends on the embedder and on
the documents, so it is measured for what a search may find, with questions put together at random from its own words.
What a word costs that stands nowhere depends on the library's size: in a small one the words that it has tell little,
so that a third sign makes up for it. A question in another script than its passages has no words in common with
them; its vector decides alone. The weights are logistic regressions by `launch.py bench rag --tune`, moved so that one
in twenty answered questions is refused at most.
"""

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rag.fusion import HAN_SHARE, fusion_for
from rag.hits import Hit
from rag.retrieval import Retriever
from rag.rows import Filter
from rag.store_reader import StoreReader
from rag.text import fold, han_share

LOOKED_AT = 3  # of the hits, for the nearest vector
NULL_PASSAGES = 400  # whose words make the meaningless questions
NULL_QUERIES = 64
NULL_PIECES = 6
MIN_COSINE = 0.05  # of chance: a smaller one is none
MAX_MEASURED = 100  # parts of a library
DAY_NS = 24 * 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Signs:
    """What decides: the best score, and the best cosine over that of chance.

    `rarity` is how much a word tells that one passage has, over a word that none has; `is_han` is of the question, and
    `is_foreign` says that its passage is of the other script.
    """

    score: float
    nearness: float
    rarity: float
    is_han: bool
    is_foreign: bool

    @classmethod
    def of(
        cls, query: str, hits: Sequence[Hit], *, null_cosine: float, rarity: float, meaning_weight: float = 1.0
    ) -> "Signs":
        """The signs of the hits of a question, of which there are some.

        They were found with the vectors weighing `meaning_weight` times as much as usual; the score is the usual one.
        """
        is_han = han_share(query) >= HAN_SHARE
        nearest = max(hit.legs["dense"].score for hit in hits[:LOOKED_AT])
        is_foreign = is_han != (han_share(hits[0].text) >= HAN_SHARE)
        usual, weighted = fusion_for(query), fusion_for(query, meaning_weight)
        score = max(hit.score - (weighted.meaning(hit.deviations) - usual.meaning(hit.deviations)) for hit in hits)
        return cls(score, nearest / max(null_cosine, MIN_COSINE), rarity, is_han, is_foreign)


@dataclass(frozen=True, slots=True)
class Weights:
    """What each sign counts; a sum above 0 is an answer."""

    bias: float
    score: float = 0.0
    nearness: float = 0.0
    rarity: float = 0.0

    def sum(self, signs: Signs) -> float:
        """How much speaks for an answer."""
        return self.bias + self.score * signs.score + self.nearness * signs.nearness + self.rarity * signs.rarity


@dataclass(frozen=True, slots=True)
class Gate:
    """The weights for questions in Latin letters, for Chinese ones, and for those in the other script."""

    latin: Weights = Weights(bias=0.067, score=3.879, nearness=3.786, rarity=-13.113)
    han: Weights = Weights(bias=0.888, score=5.197, nearness=1.171, rarity=-11.07)
    foreign: Weights = Weights(bias=-1.552, nearness=2.746)

    def passes(self, signs: Signs) -> bool:
        """Whether the best hits are likely to answer."""
        weights = self.foreign if signs.is_foreign else self.han if signs.is_han else self.latin
        return weights.sum(signs) >= 0


class Chance:
    """What the vectors of meaningless questions reach in each part of a library that was searched."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._measured: dict[tuple[Filter, str, int], float] = {}

    def null_cosine(self, retriever: Retriever, embedder_id: str, allowed: Filter) -> float:
        """It is measured anew when the library has grown by a fifth; a time counts by its day."""
        if allowed.after_ns is not None:
            allowed = replace(allowed, after_ns=allowed.after_ns // DAY_NS * DAY_NS)
        size = int(math.log(max(self._store.num_chunks(), 1), 1.2))
        key = (allowed, embedder_id, size)
        if key not in self._measured:
            if len(self._measured) >= MAX_MEASURED:
                self._measured.clear()
            passages = [chunk.text for chunk in self._store.sample_chunks(NULL_PASSAGES, allowed)]
            self._measured[key] = null_cosine(retriever.best_cosines(null_queries(passages), allowed))
        return self._measured[key]


def null_queries(passages: Sequence[str]) -> list[str]:
    """Questions that mean nothing, from the words of passages: a piece of each of a few, at random but always equal."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    if not passages:
        return []
    return [" ".join(_piece(draw.choice(passages), draw) for _ in range(NULL_PIECES)) for _ in range(NULL_QUERIES)]


def null_cosine(best: Sequence[float]) -> float:
    """What the best cosine of a meaningless question reaches: the median, as a high percentile of so few swings."""
    return statistics.median(best) if best else 0.0


def _piece(passage: str, draw: random.Random) -> str:
    if han_share(passage) >= HAN_SHARE:
        start = draw.randrange(max(len(passage) - 3, 1))
        return passage[start : start + 3]
    words = fold(passage).split()
    return draw.choice(words) if words else ""
