"""Recall at 1 and 5 on question sets of SQuAD's format, all their passages as the corpus."""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
SETS = {
    "squad2": ("squad2-dev-12-articles.json.gz",) * 2,
    "xquad.en": ("xquad.en.json",) * 2,
    "xquad.zh": ("xquad.zh.json",) * 2,
    "cmrc": ("cmrc2018_trial.json",) * 2,
    "zh question, en passage": ("xquad.zh.json", "xquad.en.json"),
    "en question, zh passage": ("xquad.en.json", "xquad.zh.json"),
}


@dataclass(frozen=True, slots=True)
class QuestionSet:
    passages: list[str]
    questions: list[str]
    gold: NDArray[np.int64]  # the passage of each question
    article: NDArray[np.int64]  # the article of each question


def read(path: Path) -> QuestionSet:
    """The answerable questions of a file with all passages."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    passages: list[str] = []
    rows: list[tuple[str, int, int]] = []
    for number, document in enumerate(json.loads(raw)["data"]):
        for paragraph in document["paragraphs"]:
            asked = [qa for qa in paragraph["qas"] if not qa.get("is_impossible")]
            rows += [(qa["question"], len(passages), number) for qa in asked]
            passages.append(paragraph["context"])
    questions, gold, article = zip(*rows, strict=True)
    return QuestionSet(passages, list(questions), np.array(gold), np.array(article))


def ranks(queries: NDArray[np.float32], passages: NDArray[np.float32], gold: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many passages are at least as near as the right one, itself not counted."""
    scores = queries @ passages.T
    right = scores[np.arange(len(gold)), gold][:, None]
    return (scores >= right).sum(axis=1) - 1


def evaluate(
    folder: Path, encode_queries: Encode, encode_passages: Encode, *, half: int | None = None
) -> dict[str, tuple[float, float]]:
    """(R@1, R@5) of each set; `half` takes only questions on the even (0) or odd (1) articles."""
    sets = {name: read(folder / name) for name in sorted({name for pair in SETS.values() for name in pair})}
    queries = {name: encode_queries(found.questions) for name, found in sets.items()}
    passages = {name: encode_passages(found.passages) for name, found in sets.items()}
    scores = {}
    for name, (asked, searched) in SETS.items():
        found = sets[asked]
        place = ranks(queries[asked], passages[searched], found.gold)
        if half is not None:
            place = place[found.article % 2 == half]
        scores[name] = (float((place < 1).mean()), float((place < 5).mean()))
    return scores
