"""A library that holds the passages of a question set, and the weights that find them best."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.question_sets import MISSED, Floats, Question, Ranks, exact_ranks
from rag.documents import Chunk, ParsedDocument
from rag.fusion import Fusion
from rag.keywords import Match
from rag.retrieval import EVERYTHING, Retriever
from rag.rows import Embedded, FileState
from rag.store import Store
from rag.vector_index import VectorIndex

if TYPE_CHECKING:
    from rag.embedding import Embedder

RESAMPLES = 2000
SHRINKAGE = 1e-3  # of the weights


@dataclass(frozen=True, slots=True)
class Signs:
    """What the candidates of each question show, padded: C candidates of Q questions, of 7 signs each."""

    signs: Floats  # [Q, C, 7] as in SIGNS
    is_there: NDArray[np.bool_]  # [Q, C]
    gold: NDArray[np.int64]  # [Q] the candidate that is right, or -1
    keyword_ranks: Ranks
    dense_ranks: Ranks

    def ranks(self, fusion: Fusion) -> Ranks:
        """The place of the right passage under a fusion; ties count against it."""
        scores = np.where(self.is_there, self.signs @ weights_of(fusion), -np.inf)
        right = scores[np.arange(len(scores)), self.gold][:, None]
        places = (scores >= right).sum(axis=1)
        return np.where(self.gold >= 0, places, MISSED)


SIGNS = ("bm25", "coverage", "proximity", "adjacency", "similarity", "characters", "name")


def weights_of(fusion: Fusion) -> Floats:
    return np.array([getattr(fusion, sign) for sign in SIGNS])


class Corpus:
    """A library in which each passage is a document of one chunk."""

    def __init__(self, folder: Path, embedder: "Embedder", passages: Sequence[str]) -> None:
        self.store = Store(folder)
        self.embedder = embedder
        self.vectors = embedder.encode_passages(passages).astype(np.float16)
        for number, (text, vector) in enumerate(zip(passages, self.vectors, strict=True)):
            file = FileState(Path(f"/{number}"), len(text), 0, f"{number:064x}")
            parsed = ParsedDocument("txt", "", text)
            embedded = Embedded(embedder.id, vector[None])
            self.store.put(file, "default", parsed, [Chunk(0, len(text), None, ())], embedded)
        self.index = VectorIndex(self.store, folder, embedder.id)
        self.retriever = Retriever(self.store, self.index, embedder)

    def signs(self, questions: Sequence[Question]) -> Signs:
        """Search for each question; a chunk's id is its passage's number and one."""
        rows = [self.retriever.candidates(question.text, allowed=EVERYTHING) for question in questions]
        width = max(map(len, rows), default=1)
        signs, is_there = np.zeros((len(rows), width, len(SIGNS))), np.zeros((len(rows), width), bool)
        gold, keyword_ranks = np.full(len(rows), -1), np.full(len(rows), MISSED)
        for i, (question, row) in enumerate(zip(questions, rows, strict=True)):
            for j, candidate in enumerate(row):
                match: Match = candidate.match
                signs[i, j, :4] = match.bm25, match.coverage, match.proximity, match.adjacency
                signs[i, j, 4:] = candidate.deviations, match.characters, candidate.named
                is_there[i, j] = True
                if candidate.chunk.id == question.gold + 1:
                    gold[i], keyword_ranks[i] = j, candidate.keyword_rank or MISSED
        dense_ranks = self.dense_ranks(questions, self.embedder)
        return Signs(signs, is_there, gold, keyword_ranks, dense_ranks)

    def dense_ranks(self, questions: Sequence[Question], embedder: "Embedder") -> Ranks:
        """The place of the right passage by cosine alone, among all."""
        queries = embedder.encode_queries([question.text for question in questions])
        return exact_ranks(queries, self.vectors.astype(np.float32), [question.gold for question in questions])

    def close(self) -> None:
        self.store.close()


def gain(better: Floats, worse: Floats) -> tuple[float, float, float]:
    """The mean of the paired differences and its 95 % interval by bootstrap over questions."""
    differences = better - worse
    draw = np.random.default_rng(0)
    picks = draw.integers(0, len(differences), (RESAMPLES, len(differences)))
    low, high = np.percentile(differences[picks].mean(axis=1), (2.5, 97.5))
    return round(float(differences.mean()), 4), round(float(low), 4), round(float(high), 4)


def tune(parts: Iterable[Signs]) -> Fusion:
    """Fusion weights by a softmax over the candidates of each question, each set weighing the same; none below 0."""
    from scipy.optimize import minimize

    scale = np.array([1.0, 1.0, 1.0, 1.0, 0.1, 1.0, 0.0])
    usable = [
        (part.signs[rows] * scale, part.is_there[rows], part.gold[rows]) for part in parts for rows in [part.gold >= 0]
    ]

    def loss(weights: Floats) -> tuple[float, Floats]:
        total, slope = SHRINKAGE * float(weights @ weights), 2 * SHRINKAGE * weights
        for signs, is_there, gold in usable:
            scores = np.where(is_there, signs @ weights, -np.inf)
            chances = np.exp(scores - scores.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
            each = np.arange(len(gold))
            total -= float(np.log(chances[each, gold] + 1e-12).mean())
            slope = slope - (signs[each, gold] - (chances[..., None] * signs).sum(axis=1)).mean(axis=0)
        return total, slope

    start = np.ones(len(SIGNS))
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(SIGNS)).x * scale
    return Fusion(**{sign: round(float(weight / found[0]), 3) for sign, weight in zip(SIGNS[:6], found, strict=False)})


def tuned(parts: Sequence[tuple[Signs, Sequence[Question]]], *, half: int) -> Fusion:
    """The weights that fit the questions of some sets on the articles of even (0) or odd (1) number."""
    halves = []
    for signs, questions in parts:
        rows = np.array([question.article % 2 == half for question in questions])
        kept = (signs.signs[rows], signs.is_there[rows], signs.gold[rows])
        halves.append(Signs(*kept, signs.keyword_ranks[rows], signs.dense_ranks[rows]))
    return tune(halves)


def shuffled_passages(passages: Sequence[str], count: int) -> list[str]:
    """Passages of as many sentences taken at random: a large corpus with the words' own frequencies."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    parts = [
        part.strip() for passage in passages for part in passage.replace("。", "。\n").replace(". ", ".\n").splitlines()
    ]
    parts = [part for part in parts if part]
    return [f"{number}. " + " ".join(draw.choices(parts, k=4)) for number in range(count)]


def table(rows: Sequence[Sequence[Any]]) -> str:
    """Rows with their columns in line."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
