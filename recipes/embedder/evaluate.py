"""Recall at 1 and 5 on the question sets, all their passages as the corpus."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.question_sets import SETS, exact_ranks, figures, read_set

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
# Of each row of the card: whose questions, whose passages.
TASKS = {name: (name, name) for name in SETS} | {
    "zh question, en passage": ("xquad.zh", "xquad.en"),
    "en question, zh passage": ("xquad.en", "xquad.zh"),
}


def evaluate(
    folder: Path, encode_queries: Encode, encode_passages: Encode, *, half: int | None = None
) -> dict[str, tuple[float, float]]:
    """(R@1, R@5) of each task; `half` takes only questions on the even (0) or odd (1) articles."""
    sets = {name: read_set(folder / file) for name, file in SETS.items()}
    questions = {name: found.answerable() for name, found in sets.items()}
    queries = {name: encode_queries([question.text for question in asked]) for name, asked in questions.items()}
    passages = {name: encode_passages(found.passages) for name, found in sets.items()}
    scores = {}
    for task, (asked, searched) in TASKS.items():
        ranks = exact_ranks(queries[asked], passages[searched], [question.gold for question in questions[asked]])
        is_meant = [half is None or question.article % 2 == half for question in questions[asked]]
        found = figures(ranks[np.array(is_meant)])
        scores[task] = found["R@1"], found["R@5"]
    return scores
