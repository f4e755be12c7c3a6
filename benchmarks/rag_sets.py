"""Question sets of SQuAD's format, a library that holds their passages, and how well ranks are."""

import gzip
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rag.documents import Chunk, ParsedDocument
from rag.fusion import Fusion
from rag.keywords import Match
from rag.retrieval import EVERYTHING, Retriever
from rag.rows import Embedded, FileState
from rag.store import Store
from rag.vector_index import VectorIndex

if TYPE_CHECKING:
    from rag.embedding import Embedder

SETS = {
    "squad2": "squad2-dev-12-articles.json.gz",
    "xquad.en": "xquad.en.json",
    "xquad.zh": "xquad.zh.json",
    "cmrc": "cmrc2018_trial.json",
}
CHINESE = ("xquad.zh", "cmrc")
MISSED = 10_000  # a rank that is nowhere
RESAMPLES = 2000
SHRINKAGE = 1e-3  # of the weights

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]  # [Q], from 1


@dataclass(frozen=True, slots=True)
class Question:
    """A question on passage `gold`. Articles with an even number tune, the others report."""

    text: str
    gold: int
    article: int
    answers: tuple[str, ...]
    is_impossible: bool

    @property
    def reports(self) -> bool:
        return self.article % 2 == 1


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """All passages of a set, each with the number of its article, and the questions."""

    passages: list[str]
    articles: list[int]
    questions: list[Question]

    def answerable(self) -> list[Question]:
        return [question for question in self.questions if not question.is_impossible]


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


def read_set(path: Path) -> QuestionSet:
    """A file of SQuAD's format; equal passages are one."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    places: dict[str, int] = {}
    articles: list[int] = []
    questions: list[Question] = []
    for number, article in enumerate(json.loads(raw)["data"]):
        for paragraph in article["paragraphs"]:
            if paragraph["context"] not in places:
                places[paragraph["context"]] = len(articles)
                articles.append(number)
            gold = places[paragraph["context"]]
            for qa in paragraph["qas"]:
                answers = tuple(answer["text"] for answer in qa["answers"])
                questions.append(Question(qa["question"], gold, number, answers, qa.get("is_impossible", False)))
    return QuestionSet(list(places), articles, questions)


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


def exact_ranks(queries: NDArray[np.float32], passages: NDArray[np.float32], gold: Sequence[int]) -> Ranks:
    """The place of each query's passage by cosine, ties against it."""
    scores = queries @ passages.T
    return (scores >= scores[np.arange(len(gold)), list(gold)][:, None]).sum(axis=1)


def figures(ranks: Ranks) -> dict[str, float]:
    """R@1, R@5, R@10 and the mean reciprocal rank."""
    found = {f"R@{k}": round(float((ranks <= k).mean()), 4) for k in (1, 5, 10)}
    return found | {"MRR": round(float(reciprocal(ranks).mean()), 4)}


def reciprocal(ranks: Ranks) -> Floats:
    return np.where(ranks < MISSED, 1.0 / ranks, 0.0)


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
