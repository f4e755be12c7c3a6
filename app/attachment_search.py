"""The passages of attached files that a question is about: by words and by meaning, their ranks fused.

A file that is attached is asked about a few times and forgotten, so it gets no index: BM25 over its own passages
(Robertson & Zaragoza 2009, eq. 3.15), the embedder's vectors beside it, and reciprocal rank fusion of both (Cormack et
al. 2009).
"""

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from core.errors import AssistantError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rag.embedding import Embedder

K1, B = 1.2, 0.75
FUSION_K = 60
MAX_BEST = 24
MAX_KEPT = 16  # files whose vectors are remembered


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a file; `page` is where it begins, where the file has pages."""

    text: str
    page: int | None


class Ranker:
    """Ranks passages. Methods may be called from several threads."""

    def __init__(self, embedder: "Callable[[], Embedder]") -> None:
        self._embedder, self._lock = embedder, threading.Lock()
        self._vectors: OrderedDict[tuple[str, int, int], NDArray[np.float32]] = OrderedDict()

    def best(
        self, question: str, files: Sequence[tuple[str, str, list[Passage]]]
    ) -> Iterator[tuple[str, str, int, Passage]]:
        """Key and name of the file, number and passage, the best first; `files` are key, name and passages."""
        rows = [
            (key, name, number, passage) for key, name, passages in files for number, passage in enumerate(passages)
        ]
        if not rows:
            return
        score = Counter[int]()
        legs = [_by_words(question, [row[3].text for row in rows]), self._by_meaning(question, files)]
        for leg in legs:
            order = sorted((place for place in range(len(rows)) if leg[place] > 0), key=lambda place: -leg[place])
            score.update({place: 1 / (FUSION_K + rank) for rank, place in enumerate(order, 1)})
        yield from (rows[place] for place, _ in score.most_common(MAX_BEST))

    def _by_meaning(self, question: str, files: Sequence[tuple[str, str, list[Passage]]]) -> Sequence[float]:
        try:
            (asked,) = self._embedder().encode_queries([question])
            return [float(value) for key, _, passages in files for value in self._vectors_of(key, passages) @ asked]
        except AssistantError:  # without its weights the words alone decide
            return [0.0] * sum(len(passages) for *_, passages in files)

    def _vectors_of(self, key: str, passages: Sequence[Passage]) -> "NDArray[np.float32]":
        texts = [passage.text for passage in passages]
        known = (key, len(texts), hash(tuple(texts)))
        with self._lock:
            if known not in self._vectors:
                self._vectors[known] = self._embedder().encode_passages(texts)
            self._vectors.move_to_end(known)
            while len(self._vectors) > MAX_KEPT:
                self._vectors.popitem(last=False)
            return self._vectors[known]


def _by_words(question: str, texts: Sequence[str]) -> list[float]:
    """BM25 of each text."""
    from rag.text import terms

    counts = [Counter(terms(text)) for text in texts]
    lengths = [max(count.total(), 1) for count in counts]
    mean = sum(lengths) / len(lengths)
    asked = set(terms(question))
    with_term = {term: sum(term in count for count in counts) for term in asked}
    idf = {term: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for term, n in with_term.items()}
    return [
        sum(
            idf[term] * count[term] * (K1 + 1) / (count[term] + K1 * (1 - B + B * length / mean))
            for term in asked
            if count[term]
        )
        for count, length in zip(counts, lengths, strict=True)
    ]
