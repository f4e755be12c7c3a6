"""How well the search works on the user's own files, measured with questions made from them.

Two kinds of question, of which the right passage is known: a title, for the passages below it, and a sentence without
its rarest words, for the passage that has it. Both are easier than what people ask; the figures compare ways of
searching and say little in themselves.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rag.chunking import sentences
from rag.fusion import Candidate, Fusion, fusion_for
from rag.retrieval import EVERYTHING, Retriever
from rag.rows import ChunkRow, Filter
from rag.store_reader import StoreReader
from rag.text import terms

NUM_PASSAGES = 200
MIN_TERMS = 6
MASKED_SHARE = 0.34
MEANING_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of the vectors, as `fusion_for` takes them
WORTHWHILE = 0.01  # gain of MRR from which another weight is proposed
MISSED = 0.0
TIMED = 100  # of the questions


WAYS: dict[str, Callable[[Fusion, Candidate], float]] = {
    "keyword": lambda _, candidate: -(candidate.keyword_rank or 10**6),
    "dense": lambda _, candidate: -(candidate.dense_rank or 10**6),
    "hybrid": lambda fusion, candidate: fusion.score(candidate),
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A question made from the library, and the passages that are right."""

    query: str
    right: frozenset[int]


@dataclass(frozen=True, slots=True)
class LegFigures:
    """How well one way of searching does. `ms` is the median time of a question."""

    recall_at_5: float
    mrr: float
    ms: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The figures by way of searching, with the weight of the vectors that is set; and a better one, if there is."""

    num_probes: int
    figures: dict[str, LegFigures]
    weight: float = 1.0
    better_weight: float | None = None
    better_mrr: float = 0.0

    @property
    def advice(self) -> str:
        """One sentence."""
        if self.better_weight is None:
            return f"The settings fit these files: meaning weighs {self.weight:g} times the usual, no other is better."
        return (
            f"Meaning weighing {self.better_weight:g} times the usual, not {self.weight:g}, would be better for these "
            f"files: MRR {self.better_mrr:.3f} instead of {self.figures['hybrid'].mrr:.3f}."
        )


def self_test(store: StoreReader, retriever: Retriever, allowed: Filter = EVERYTHING) -> SelfTest | None:
    """Ask questions made from the library; None if its passages are too short or too few for any."""
    retriever.vocabulary.refresh()
    probes = make_probes(store.sample_chunks(NUM_PASSAGES, allowed), retriever.vocabulary.idf_of)
    if not probes:
        return None
    found = [retriever.candidates(probe.query, allowed=allowed) for probe in probes]
    times = _median_times_ms(probes, retriever, allowed)
    weight = store.meaning_weight()
    figures = {name: _figures(probes, found, way, weight, times[name]) for name, way in WAYS.items()}
    return SelfTest(len(probes), figures, weight, *_better(probes, found, figures["hybrid"].mrr))


def _median_times_ms(probes: Sequence[Probe], retriever: Retriever, allowed: Filter) -> dict[str, float]:
    """How long each way of searching takes, in turns; how many passages have a term is known by now."""
    searches: dict[str, Callable[[str], object]] = {
        "keyword": lambda query: retriever.by_words(retriever.vocabulary.question(query), allowed),
        "dense": lambda query: retriever.by_meaning(retriever.query_vector(query), allowed),
        "hybrid": lambda query: retriever.candidates(query, allowed=allowed),
    }
    times: dict[str, list[float]] = {name: [] for name in searches}
    for probe in probes[:: math.ceil(len(probes) / TIMED)]:
        for name, search in searches.items():
            started = time.perf_counter()
            search(probe.query)
            times[name].append((time.perf_counter() - started) * 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def make_probes(chunks: Sequence[ChunkRow], idf: Callable[[str], float]) -> list[Probe]:
    """A title and a sentence with gaps of each passage that has them; always the same."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    below: dict[str, set[int]] = {}
    for chunk in chunks:
        if chunk.headings:
            below.setdefault(chunk.headings[-1], set()).add(chunk.id)
    probes = [Probe(title, frozenset(ids)) for title, ids in below.items() if terms(title)]
    for chunk in chunks:
        long = [chunk.text[start:end] for start, end in sentences(chunk.text)]
        long = [text for text in long if len(terms(text)) >= MIN_TERMS]
        if long:
            probes.append(Probe(_with_gaps(draw.choice(long), idf), frozenset({chunk.id})))
    return probes


def _with_gaps(sentence: str, idf: Callable[[str], float]) -> str:
    """The terms of a sentence without its rarest."""
    found = terms(sentence)
    masked = set(sorted(dict.fromkeys(found), key=idf)[-max(int(len(found) * MASKED_SHARE), 1) :])
    return " ".join(term for term in found if term not in masked)


def _figures(
    probes: Sequence[Probe],
    found: Sequence[Sequence[Candidate]],
    score: Callable[[Fusion, Candidate], float],
    weight: float,
    ms: float = 0.0,
) -> LegFigures:
    ranks = []
    for probe, candidates in zip(probes, found, strict=True):
        fusion = fusion_for(probe.query, weight)
        order = sorted(candidates, key=lambda candidate: -score(fusion, candidate))
        places = (place for place, candidate in enumerate(order, 1) if candidate.chunk.id in probe.right)
        ranks.append(next(places, None))
    recall = sum(rank is not None and rank <= 5 for rank in ranks) / len(ranks)
    mrr = sum(1 / rank if rank else MISSED for rank in ranks) / len(ranks)
    return LegFigures(round(recall, 4), round(mrr, 4), round(ms, 2))


def _better(probes: Sequence[Probe], found: Sequence[Sequence[Candidate]], mrr: float) -> tuple[float | None, float]:
    """The weight of the vectors with which the MRR is best, where it is worth a change, and that MRR."""
    reached = {weight: _figures(probes, found, WAYS["hybrid"], weight).mrr for weight in MEANING_WEIGHTS}
    best = max(reached, key=lambda weight: reached[weight])
    return (best, reached[best]) if reached[best] > mrr + WORTHWHILE else (None, 0.0)
