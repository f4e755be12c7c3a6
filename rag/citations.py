"""Where each sentence of an answer stands in the passages, found after the answer is written.

A small model cannot be asked to write `[1]`. Each sentence of the answer is compared with every sentence of the
passages, alone and with the next one: the share of its telling terms that stand there, and the likeness of the vectors,
which alone finds a passage in another language. Words can agree and the claim be false, so that numbers, names and
negation must agree as well; where one does not, the sentence is unsupported, however alike the words are.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rag.chunking import sentences
from rag.claims import Claims
from rag.hits import Hit
from rag.text import terms

if TYPE_CHECKING:
    from rag.embedding import Embedder

SUPPORTED = 0.5
WORDS_SHARE = 0.7  # of the support; the rest is the likeness of the vectors
MAX_CITATIONS = 3
NEARLY = 0.9  # of the best support: passages this good are cited too
MAX_SOURCE_SENTENCES = 400
EXTRACTED = 2


@dataclass(frozen=True, slots=True)
class Citation:
    """A place that supports a sentence: characters [start, end) of the text of a hit's document."""

    hit: Hit
    start: int
    end: int
    support: float

    @property
    def text(self) -> str:
        return self.hit.text[self.start - self.hit.start : self.end - self.hit.start]


@dataclass(frozen=True, slots=True)
class Sentence:
    """Characters [start, end) of an answer. `support` lies between 0 and 1; without citations nothing supports it."""

    text: str
    start: int
    end: int
    support: float
    citations: tuple[Citation, ...]

    @property
    def is_supported(self) -> bool:
        return bool(self.citations)


@dataclass(frozen=True, slots=True)
class Answer:
    """A text and where its sentences stand."""

    text: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """One or two sentences of a hit."""

    hit: Hit
    start: int
    end: int
    text: str
    terms: frozenset[str]


class Attributor:
    """Compares sentences with passages. `idf` says how much a term tells."""

    def __init__(self, embedder: "Embedder", idf: Callable[[str], float]) -> None:
        self._embedder, self._idf = embedder, idf

    def attribute(self, answer: str, hits: Sequence[Hit]) -> list[Sentence]:
        """Each sentence of an answer with the places that support it."""
        spans = [(start, end) for start, end in sentences(answer) if terms(answer[start:end])]
        sources = _sources(hits)
        if not spans or not sources:
            return [Sentence(answer[start:end], start, end, 0.0, ()) for start, end in spans]
        texts = [answer[start:end] for start, end in spans]
        likeness = self._likeness(texts, [source.text for source in sources])
        return [
            self._sentence(text, start, end, sources, row)
            for text, (start, end), row in zip(texts, spans, likeness, strict=True)
        ]

    def extract(self, query: str, hits: Sequence[Hit]) -> Answer:
        """An answer without a model: the sentences of the hits that are nearest to the question, as they stand."""
        sources = [source for source in _sources(hits, pairs=False) if source.terms]
        if not sources:
            return Answer("", ())
        likeness = self._likeness([query], [source.text for source in sources])[0]
        asked = frozenset(terms(query))
        best_score = max((hit.score for hit in hits), default=1.0) or 1.0
        scores = [
            WORDS_SHARE * self._overlap(asked, source.terms)
            + (1 - WORDS_SHARE) * like
            + 0.3 * source.hit.score / best_score
            for source, like in zip(sources, likeness.tolist(), strict=True)
        ]
        order = sorted(range(len(sources)), key=lambda i: -scores[i])[:EXTRACTED]
        chosen = [(sources[i], scores[i]) for i in order if scores[i] >= NEARLY * scores[order[0]] or i == order[0]]
        return _quoted(chosen)

    def _sentence(
        self, text: str, start: int, end: int, sources: Sequence[_Source], likeness: NDArray[np.float32]
    ) -> Sentence:
        own, claims = frozenset(terms(text)), Claims.of(text)
        supports = [
            max(
                WORDS_SHARE * (words := self._overlap(own, source.terms)) + (1 - WORDS_SHARE) * like,
                like if not words else 0.0,
            )
            for source, like in zip(sources, likeness.tolist(), strict=True)
        ]
        citations: list[Citation] = []
        best = 0.0
        for i in sorted(range(len(sources)), key=lambda i: -supports[i]):
            source = sources[i]
            if supports[i] < SUPPORTED or supports[i] < NEARLY * best or len(citations) == MAX_CITATIONS:
                break
            is_cited = any(citation.hit.chunk_id == source.hit.chunk_id for citation in citations)
            if is_cited or not claims.agree_with(source.text, source.hit.text):
                continue
            best = max(best, supports[i])
            citations.append(Citation(source.hit, source.start, source.end, supports[i]))
        return Sentence(text, start, end, best, tuple(citations))

    def _overlap(self, wanted: frozenset[str], there: frozenset[str]) -> float:
        """The share of the weight of terms that is there."""
        total = sum(map(self._idf, wanted))
        return sum(self._idf(term) for term in wanted & there) / total if total else 0.0

    def _likeness(self, texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Cosines, shape (len(texts), len(others)), none below 0."""
        cosines = self._embedder.encode_queries(texts) @ self._embedder.encode_passages(others).T
        return np.maximum(cosines, 0.0)


def _sources(hits: Sequence[Hit], *, pairs: bool = True) -> list[_Source]:
    """The sentences of the hits, and each with the one after it."""
    found: list[_Source] = []
    for hit in hits:
        spans = list(sentences(hit.text))
        longer = [(one[0], other[1]) for one, other in pairwise(spans)] if pairs else []
        for start, end in [*spans, *longer]:
            text = hit.text[start:end]
            found.append(_Source(hit, hit.start + start, hit.start + end, text, frozenset(terms(text))))
    return found[:MAX_SOURCE_SENTENCES]


def _quoted(chosen: Sequence[tuple[_Source, float]]) -> Answer:
    """The chosen sentences in one text, with their places."""
    text, parts = "", list[Sentence]()
    for source, score in chosen:
        quote = re.sub(r"\s+", " ", source.text)
        text = f"{text}\n{quote}" if text else quote
        citation = Citation(source.hit, source.start, source.end, min(score, 1.0))
        parts.append(Sentence(quote, len(text) - len(quote), len(text), citation.support, (citation,)))
    return Answer(text, tuple(parts))
