"""Pairs as JSON lines, the form that `prepare` reads: out of the store and back, or in from elsewhere."""

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from app.preference_rows import Answer, Origin, Pair, Review, Source, conversation
from app.preferences import Preferences
from core.data.formats import Preference, UnrecognisedError, recognise
from core.data.readers import read_file
from core.data.streams import input_files
from core.errors import DataError
from core.files import write_bytes

MAX_PROBLEMS = 100
BATCH_PAIRS = 500


@dataclass(slots=True)
class ImportReport:
    """What became of the rows of a file; `problems` are (row, what is wrong) of the first MAX_PROBLEMS."""

    num_added: int = 0
    num_known: int = 0
    num_opposite: int = 0  # of those left out because the opposite is in the store
    num_bad: int = 0
    problems: list[tuple[int, str]] = field(default_factory=list)

    def tell(self, _file: str, row: int, problem: str) -> None:
        self.num_bad += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((row, problem))


def pair_lines(pairs: Iterable[Pair]) -> Iterator[str]:
    """Pairs as lines of JSON, oldest first."""
    for pair in sorted(pairs, key=lambda pair: pair.id):
        yield json.dumps(_to_row(pair), ensure_ascii=False) + "\n"


def export_pairs(pairs: Iterable[Pair], path: Path) -> int:
    """Write pairs to a file, oldest first; how many."""
    lines = list(pair_lines(pairs))
    write_bytes(path, "".join(lines).encode())
    return len(lines)


def import_pairs(preferences: Preferences, path: Path) -> ImportReport:
    """Read pairs of any spelling that `prepare` knows into the store; those of other programs wait for a review.

    Nothing in the store is changed by it: rows that are there already or say the opposite are counted.
    """
    report = ImportReport()
    rows = _read(path, report)
    while batch := list(islice(rows, BATCH_PAIRS)):
        num_added, num_opposite = preferences.add(batch)
        report.num_added += num_added
        report.num_opposite += num_opposite
        report.num_known += len(batch) - num_added - num_opposite
    return report


def _to_row(pair: Pair) -> dict[str, Any]:
    return {
        "messages": pair.messages,
        "chosen": pair.chosen.text,
        "rejected": pair.rejected.text,
        "source": pair.source,
        "review": pair.review,
        "time": pair.time,
        "chosen_origin": asdict(pair.chosen.origin),
        "rejected_origin": asdict(pair.rejected.origin),
    }


def _read(path: Path, report: ImportReport) -> Iterator[Pair]:
    for file in input_files([path]):
        for record in read_file(file, report.tell, lambda _: None):
            try:
                yield _from_row(record.value)
            except UnrecognisedError as exc:
                report.tell(record.file, record.row, exc.sentence)
            except DataError as exc:
                report.tell(record.file, record.row, exc.whole)


def _from_row(value: str | dict[str, Any]) -> Pair:
    example = recognise(value)
    if not isinstance(example, Preference):
        raise UnrecognisedError("{kind} data among pairs", kind=example.kind)
    assert isinstance(value, dict), "a text is no pair"
    if not example.chosen.strip() or not example.rejected.strip() or example.chosen == example.rejected:
        raise UnrecognisedError("a pair needs two different answers")
    made = value.get("time")
    return Pair(
        id=0,
        messages=conversation(example.messages),
        chosen=Answer(example.chosen, Origin.from_dict(value.get("chosen_origin"))),
        rejected=Answer(example.rejected, Origin.from_dict(value.get("rejected_origin"))),
        source=_one_of(Source, value.get("source"), Source.IMPORT),
        review=_one_of(Review, value.get("review"), Review.NEW),
        time=float(made) if isinstance(made, int | float) and math.isfinite(made) else time.time(),
    )


def _one_of(kind: Any, value: Any, otherwise: Any) -> Any:
    return kind(value) if value in list(kind) else otherwise
