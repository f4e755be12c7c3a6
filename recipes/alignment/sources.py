"""Preference pairs that people and stronger models judged: which files, under which licence, and their reading.

Only files whose licence lets a product ship are trained on. `JUDGED` are benchmarks of judges whose
prompts stand in evaluation sets too: reward models are measured on them and never trained.
"""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.formats import Preference, UnrecognisedError, recognise
from core.data.readers import read_file
from core.data.streams import InputFile


@dataclass(frozen=True, slots=True)
class Pair:
    """A pair and the name of where it comes from."""

    preference: Preference
    source: str

    @property
    def prompt(self) -> str:
        return "\n".join(message["content"] for message in self.preference.messages)

    def to_dict(self) -> dict[str, Any]:
        """A row that `prepare` reads."""
        pair = self.preference
        return {"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected, "source": self.source}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    path: str  # below DATA/preference
    licence: str
    read: Callable[[Path], Iterator[Preference]]


def known_pairs(path: Path) -> Iterator[Preference]:
    """The pairs of a file in a form that `prepare` knows; equal answers are left out."""
    for record in read_file(InputFile(path, path.name), lambda *_: None, lambda _: None):
        try:
            example = recognise(record.value)
        except UnrecognisedError:
            continue
        if isinstance(example, Preference):
            yield example


def llmbar_pairs(path: Path) -> Iterator[Preference]:
    """{input, output_1, output_2, label 1 or 2}."""
    for row in _rows(path):
        answers = row["output_1"], row["output_2"]
        yield _pair(row["input"], answers[row["label"] - 1], answers[2 - row["label"]])


def pandalm_pairs(path: Path) -> Iterator[Preference]:
    """{instruction, input, response1, response2, annotator1…3: 0 tie, 1, 2}: those with a majority."""
    for row in _rows(path):
        votes = [row[f"annotator{number}"] for number in (1, 2, 3)]
        winner = next((answer for answer in (1, 2) if votes.count(answer) >= 2), None)
        answers = [str(row[name]).strip() for name in ("response1", "response2")]  # some are true or false
        if winner and all(answers) and answers[0] != answers[1]:
            question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
            yield _pair(question, answers[winner - 1], answers[2 - winner])


def _pair(question: str, chosen: str, rejected: str) -> Preference:
    return Preference([{"role": "user", "content": question}], chosen, rejected)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        yield from json.load(file)


TRAINED = (
    Source(path="en/rasbt-instruction-data-with-preference.json", licence="Apache-2.0", read=known_pairs),
    Source(path="en/llamafactory-dpo_en_demo.json.gz", licence="Apache-2.0", read=known_pairs),
    Source(path="en/llamafactory-v1_dpo_demo.jsonl", licence="Apache-2.0", read=known_pairs),
    Source(path="zh/llamafactory-dpo_zh_demo.json", licence="Apache-2.0", read=known_pairs),
    Source(path="zh/medicalgpt-dpo_zh_500.jsonl.gz", licence="Apache-2.0", read=known_pairs),
)
JUDGED = (
    Source(path="en/llmbar-natural.json", licence="MIT", read=llmbar_pairs),
    Source(path="en/llmbar-adversarial-neighbor.json", licence="MIT", read=llmbar_pairs),
    Source(path="en/llmbar-adversarial-gptinst.json", licence="MIT", read=llmbar_pairs),
    Source(path="en/llmbar-adversarial-manual.json", licence="MIT", read=llmbar_pairs),
    Source(path="en/pandalm-testset-v1.json.gz", licence="Apache-2.0", read=pandalm_pairs),
)
