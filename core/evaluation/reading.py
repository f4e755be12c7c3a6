"""Files read whole: a score is of all that is in them, so the first thing that is not read ends it."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from core.data.formats import UnrecognisedError
from core.data.readers import read_file
from core.data.records import Record, place_text
from core.data.streams import InputFile
from core.errors import DataError

Value = TypeVar("Value")


def records(file: InputFile) -> Iterator[Record]:
    """The records of a file. Raises DataError for the first thing in it that is none."""
    problems: list[tuple[str, int, str]] = []
    for record in read_file(file, lambda *problem: problems.append(problem), lambda _: None):
        if problems:
            break
        yield record
    if problems:
        raise not_read(*problems[0])


def recognised(file: InputFile, recognise: Callable[[str | dict[str, Any]], Value]) -> Iterator[Value]:
    """What `recognise` makes of each record. Raises DataError for one of which it makes nothing."""
    for record in records(file):
        try:
            yield recognise(record.value)
        except UnrecognisedError as exc:
            raise not_read(record.file, record.row, exc.sentence) from exc


def not_read(file: str, row: int, what: str) -> DataError:
    place = place_text(file, row)
    return DataError("{place}: {reason}.", "Correct the file, or leave it out.", place=place, reason=what)
