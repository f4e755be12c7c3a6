"""JSON and JSON lines to records, a value at a time.

A value over MAX_LINE_CHARS or nested deeper than MAX_DEPTH ends the reading of its file.
"""

import json
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import chain
from typing import Any

import ijson

from core.data.records import MAX_LINE_CHARS, Line, Record, Report, numbered_lines, one_line
from core.errors import Sentence

MAX_DEPTH = 100


def read_json_lines(name: str, lines: Iterator[Line], report: Report) -> Iterator[Record]:
    overlong = 0
    for number, line in lines:
        if number == overlong or not line.strip():
            continue
        if len(line) >= MAX_LINE_CHARS:
            overlong = number
            report(name, number, Sentence("a line over {most:,} characters", most=MAX_LINE_CHARS))
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as exc:
            report(name, number, Sentence("broken JSON: {reason}", reason=one_line(exc)))
            continue
        yield from _record(name, number, value, report)


def read_json(name: str, text: TextIOWrapper, report: Report) -> Iterator[Record]:
    """An array, or objects one after the other: as JSON lines where the first line is one."""
    first = ""
    while not first.strip():
        first = text.readline(MAX_LINE_CHARS)
        if not first:
            return
    if first.lstrip()[0] != "[" and _is_json(first):
        yield from read_json_lines(
            name, chain([(1, first)], ((n + 1, line) for n, line in numbered_lines(text))), report
        )
        return
    feed = _Feed(first, text)
    number = 0
    try:
        for value in _values(feed, is_array=first.lstrip()[0] == "["):
            number += 1
            feed.held = 0
            yield from _record(name, number, value, report)
    except (ijson.JSONError, ValueError, _TooMuchError) as exc:
        problem = Sentence(
            "broken JSON at line {line:,}, after record {number:,}: {reason}",
            line=feed.line, number=number, reason=one_line(exc),
        )  # fmt: skip
        report(name, number + 1, problem)


def _values(feed: "_Feed", *, is_array: bool) -> Iterator[Any]:
    """The items of an array, or the values that follow each other.

    `ijson.items` is not used: it spells out the path of every event, and 100,000 opening brackets
    take it 25 GB.
    """
    top, depth = int(is_array), 0
    builder = ijson.ObjectBuilder()
    for event, value in ijson.basic_parse(feed, multiple_values=True):
        depth -= event in ("end_map", "end_array")
        if depth >= top:
            builder.event(event, value)
        is_start = event in ("start_map", "start_array")
        depth += is_start
        if depth > MAX_DEPTH:
            raise _TooMuchError(f"nested deeper than {MAX_DEPTH}")
        if depth == top and not is_start:
            yield builder.value
            builder = ijson.ObjectBuilder()


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _record(name: str, row: int, value: Any, report: Report) -> Iterator[Record]:
    if isinstance(value, dict | str):
        yield Record(name, row, value)
    else:
        report(name, row, Sentence("a JSON {kind}, not an object", kind=type(value).__name__))


class _TooMuchError(Exception):
    """A JSON value beyond MAX_LINE_CHARS or MAX_DEPTH."""


class _Feed:
    """Text as the UTF-8 bytes that ijson reads, a line at a time, so that `line` is where it is."""

    def __init__(self, first: str, text: TextIOWrapper) -> None:
        self._next, self._text = first, text
        self.line = 1
        self.held = 0  # characters since the last value was whole

    def read(self, size: int) -> bytes:
        if not size:
            return b""
        content, self._next = self._next, self._text.readline(1 << 14)
        self.line += content.endswith("\n") and bool(self._next)
        self.held += len(content)
        if self.held > MAX_LINE_CHARS:
            raise _TooMuchError(f"a value over {MAX_LINE_CHARS:,} characters")
        return content.encode("utf-8", "replace")
