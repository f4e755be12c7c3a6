"""Question sets of SQuAD's format, and how well the places of their right passages are."""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SETS = {
    "squad2": "squad2-dev-12-articles.json.gz",
    "xquad.en": "xquad.en.json",
    "xquad.zh": "xquad.zh.json",
    "cmrc": "cmrc2018_trial.json",
}
CHINESE = ("xquad.zh", "cmrc")
MISSED = 10_000  # a rank that is nowhere

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
