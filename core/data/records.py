"""What a reader gives: records, and reports of what was left out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

from core.errors import Sentence

# A longer line or JSON value is not one that anybody wrote.
MAX_LINE_CHARS = 1 << 25

# Where a row is not a line: it may take many of them, or there are none.
COUNTED_SUFFIXES = (".json", ".csv", ".tsv", ".parquet")

# file, row (0 is the whole file), what is wrong, most often as a Sentence
Report = Callable[[str, int, str], None]
Line = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Record:
    """A text or a JSON object and where it stands: `row` is its line, or its number in an array or table, from 1."""

    file: str
    row: int
    value: str | dict[str, Any]


def numbered_lines(text: TextIOWrapper) -> Iterator[Line]:
    """(number, line); a line over MAX_LINE_CHARS comes in several parts of the same number."""
    number, is_new = 0, True
    for line in iter(lambda: text.readline(MAX_LINE_CHARS), ""):
        number += is_new
        is_new = line.endswith("\n")
        yield number, line


def place_text(file: str, row: int) -> Sentence:
    """`a.jsonl, line 3`; rows of arrays and tables are counted, and 0 is the whole file."""
    if not row:
        return Sentence("{file}", file=file)
    is_counted = file.lower().removesuffix(".gz").endswith(COUNTED_SUFFIXES)
    return Sentence("{file}, row {row:,}" if is_counted else "{file}, line {row:,}", file=file, row=row)


def one_line(exc: Exception) -> str:
    """What a library says of an error, on one line."""
    text = exc.args[0] if exc.args else ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(exc)
    return (text.strip().splitlines() or [type(exc).__name__])[0]
