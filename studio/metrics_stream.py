"""The numbers of a run while it goes on: `metrics.jsonl` from a byte offset, down-sampled for a chart.

A poll reads what was appended since the last one, so its cost follows the new rows and not the file. What a later
attempt did again replaces what was before, by the rule of `core.data.metric_rows`. A file that is far ahead, a long
run opened for the first time, is shown at once from rows spread over it, and read from its beginning in bounded parts
by the polls that follow.

Legend: N rows that count, P points of a chart.
"""

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from core.data.metric_rows import replaced_from

Row = dict[str, Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_BYTES = 1 << 16  # read in 2 ms: whoever reads on in a thread holds nobody up for longer
# A file that is this far ahead is shown from a sample until it is caught up with.
FAR_BYTES = 1 << 20
SAMPLE_PLACES, SAMPLE_BYTES = 250, 4096
# Rows whose extremes are remembered together; up to the limit all rows are looked at for a chart.
BLOCK_ROWS, PLAIN_ROWS = 64, 1 << 15
KEYS = ("attempt", "step")


@dataclass(frozen=True, slots=True)
class Series:
    """The points of one metric, by step."""

    steps: Ints  # (P,)
    values: Floats  # (P,)


class MetricsStream:
    """One run's metrics, read as they grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin(0)

    def _begin(self, file_id: int) -> None:
        """Forget everything: the file is a new one."""
        self._file_id = file_id
        self._offset = self._sampled_to = 0  # bytes that are read without a gap, and up to where the sample goes
        self._num_read = 0
        self._first_steps: dict[int, int] = {}
        self._table, self._sample = _Table(), _Table()
        self.latest: Row = {}
        self.is_behind = False  # a part of the file is known from a sample only

    def poll(self, *, budget_s: float = 0.05) -> int:
        """Read what is new; returns how many rows that was.

        It takes about `budget_s` at most; `is_behind` says whether there is more to read.
        """
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._file_id or status.st_size < self._offset:
                    self._begin(status.st_ino)
                return self._read(file, status.st_size, time.monotonic() + budget_s)
        except FileNotFoundError:
            if self._offset:
                self._begin(0)
            return 0

    @property
    def offset(self) -> int:
        """The byte up to which all rows are known, and where a part is known from a sample, up to where that goes."""
        return max(self._offset, self._sampled_to)

    @property
    def num_rows(self) -> int:
        """Rows that are held."""
        return len(self._table) + len(self._sample)

    def names(self) -> list[str]:
        """Metrics that have a value so far, in the order in which they came."""
        return [*self._table.columns, *(name for name in self._sample.columns if name not in self._table.columns)]

    def series(self, name: str, max_points: int = 2000) -> Series:
        """At most `max_points` points of a metric, its extremes, its first and its last among them."""
        parts = [table.points(name) for table in (self._table, self._sample)]
        steps, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        kept = _thinned(values, max_points)
        return Series(steps[kept], values[kept])

    def _read(self, file: IO[bytes], size: int, deadline: float) -> int:
        before = self._num_read
        if size - self._offset > FAR_BYTES:
            self._read_sample(file, size)
        self.is_behind = False
        while self._offset < size and self._read_on(file):
            if time.monotonic() >= deadline:
                self.is_behind = self._offset < size
                break
        self._sample.drop_before(self._offset if self.is_behind else size)
        return self._num_read - before

    def _read_on(self, file: IO[bytes]) -> bool:
        """Take the whole lines of the next chunk; false where there is only the beginning of one."""
        chunk = _read_at(file, self._offset, CHUNK_BYTES)
        end = chunk.rfind(b"\n") + 1
        if not end and len(chunk) == CHUNK_BYTES:
            end = CHUNK_BYTES  # no row is that long: what follows in the line is as little a row
        self._add(self._table, self._offset, chunk[:end])
        self._offset += end
        return end > 0

    def _read_sample(self, file: IO[bytes], size: int) -> None:
        """Rows of the part that is far ahead: spread over it at first, then whatever is appended."""
        if self._sampled_to == 0 or size - self._sampled_to > FAR_BYTES:
            self._sample = _Table()
            tail = size - CHUNK_BYTES
            places = np.linspace(self._offset, tail, SAMPLE_PLACES, endpoint=False).astype(int).tolist()
            for place in places:
                self._add_sample(place, _read_at(file, place, SAMPLE_BYTES), is_cut=place > 0)
            self._sampled_to = self._add_sample(tail, _read_at(file, tail, CHUNK_BYTES), is_cut=True)
        else:
            chunk = _read_at(file, self._sampled_to, size - self._sampled_to)
            self._sampled_to = self._add_sample(self._sampled_to, chunk, is_cut=False)

    def _add_sample(self, place: int, chunk: bytes, *, is_cut: bool) -> int:
        """Take the whole lines, of a chunk that may begin within one; returns where they end."""
        begin, end = chunk.find(b"\n") + 1 if is_cut else 0, chunk.rfind(b"\n") + 1
        if begin < end:
            self._add(self._sample, place + begin, chunk[begin:end])
        return place + end

    def _add(self, table: "_Table", place: int, lines: bytes) -> None:
        """Append the rows of whole lines that begin at a byte of the file, and leave out what they replace."""
        places, rows = [], []
        for line in lines.splitlines(keepends=True):
            row = parsed_row(line)
            if row is not None:
                rows.append(row)
                places.append(place)
            place += len(line)
        if not rows:
            return
        self._num_read += len(rows)
        if place >= self._sampled_to:
            self.latest = rows[-1]
        firsts = dict(self._first_steps)
        for row in rows:
            attempt, step = row["attempt"], row["step"]
            if step < firsts.get(attempt, step + 1):
                firsts[attempt] = step
        limits = replaced_from(firsts)
        kept = zip(rows, places, strict=True)
        table.extend([(row, place) for row, place in kept if row["step"] < limits[row["attempt"]]])
        if firsts != self._first_steps:
            self._first_steps = firsts
            for each in (self._table, self._sample):
                each.drop_replaced(limits)


class _Growing:
    """An array that takes more at its end."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._room = np.empty(256, dtype=dtype)
        self._count = 0

    @property
    def values(self) -> NDArray[Any]:
        return self._room[: self._count]

    def extend(self, more: NDArray[Any]) -> None:
        needed = self._count + len(more)
        if needed > len(self._room):
            room = np.empty(max(2 * len(self._room), needed), dtype=self._room.dtype)
            room[: self._count] = self.values
            self._room = room
        self._room[self._count : needed] = more
        self._count = needed


class _Column:
    """The values of one metric, NaN where a row has none, and where each whole block has its extremes."""

    def __init__(self, values: Floats) -> None:
        self._values, self._extremes = _Growing(np.float64), _Growing(np.int64)
        self.extend(values)

    @property
    def values(self) -> Floats:
        return self._values.values

    def extend(self, values: Floats) -> None:
        first = self._num_blocks * BLOCK_ROWS
        self._values.extend(values)
        last = len(self.values) // BLOCK_ROWS * BLOCK_ROWS
        if last > first:
            blocks = self.values[first:last].reshape(-1, BLOCK_ROWS)
            self._extremes.extend(_extremes(blocks).ravel() + first)

    def places(self) -> Ints:
        """Where the values are that a chart needs: all of them, or the extremes of blocks and the first and last."""
        count = len(self.values)
        if count <= PLAIN_ROWS:
            return np.flatnonzero(~np.isnan(self.values))
        pairs = np.sort(self._extremes.values.reshape(-1, 2), axis=1)  # the blocks are in order already
        rest = np.arange(self._num_blocks * BLOCK_ROWS, count)
        places = np.concatenate(([0], pairs.ravel(), rest))
        is_kept = np.append(True, np.diff(places) > 0) & ~np.isnan(self.values[places])
        return places[is_kept]

    @property
    def _num_blocks(self) -> int:
        return len(self._extremes.values) // 2


class _Table:
    """Rows by column."""

    def __init__(self) -> None:
        self._attempts, self._steps, self._places = (_Growing(np.int64) for _ in range(3))
        self.columns: dict[str, _Column] = {}

    def __len__(self) -> int:
        return len(self._steps.values)

    def extend(self, rows: list[tuple[Row, int]]) -> None:
        """Append rows and the bytes at which they stand in their file."""
        before = len(self)
        for array, numbers in (
            (self._attempts, [row["attempt"] for row, _ in rows]),
            (self._steps, [row["step"] for row, _ in rows]),
            (self._places, [place for _, place in rows]),
        ):
            array.extend(np.array(numbers, dtype=np.int64))
        new = dict.fromkeys(name for row, _ in rows for name in row if name not in KEYS)
        for name in {**self.columns, **new}:
            values = _numbers([row.get(name) for row, _ in rows])
            if name in self.columns:
                self.columns[name].extend(values)
            elif not np.isnan(values).all():
                self.columns[name] = _Column(np.concatenate((np.full(before, math.nan), values)))

    def points(self, name: str) -> tuple[Ints, Floats]:
        """Steps and values (P,) of a metric, those that a chart needs of many."""
        if name not in self.columns:
            return np.empty(0, dtype=np.int64), np.empty(0)
        column = self.columns[name]
        places = column.places()
        return self._steps.values[places], column.values[places]

    def drop_before(self, place: int) -> None:
        """Leave out the rows before a byte of their file."""
        if len(self) and self._places.values[0] < place:
            self._keep(self._places.values >= place)

    def drop_replaced(self, limits: dict[int, float]) -> None:
        """Leave out the rows of each attempt from its limit on."""
        attempts, steps = self._attempts.values, self._steps.values
        is_kept = np.ones(len(self), dtype=bool)
        for attempt, limit in limits.items():
            is_kept &= (attempts != attempt) | (steps < limit)
        if not is_kept.all():
            self._keep(is_kept)

    def _keep(self, is_kept: NDArray[np.bool_]) -> None:
        for name in ("_attempts", "_steps", "_places"):
            kept = _Growing(np.int64)
            kept.extend(getattr(self, name).values[is_kept])
            setattr(self, name, kept)
        self.columns = {name: _Column(column.values[is_kept]) for name, column in self.columns.items()}


def _read_at(file: IO[bytes], place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def parsed_row(line: bytes) -> Row | None:
    """One row, or None for what is none: a line that a crash cut."""
    try:
        row = orjson.loads(line)
    except ValueError:
        try:
            row = json.loads(line)  # NaN and Infinity, which are no JSON and which Python writes
        except (ValueError, RecursionError):
            return None
    is_row = isinstance(row, dict) and all(type(row.get(key)) is int and abs(row[key]) < 2**53 for key in KEYS)
    return row if is_row else None


def _numbers(values: list[Any]) -> Floats:
    """As floats, NaN for what is no number that a chart can show."""
    found = np.array([value if type(value) in (float, int) else math.nan for value in values], dtype=np.float64)
    found[np.isinf(found)] = math.nan
    return found


def _extremes(blocks: Floats) -> Ints:
    """Places of the least and the greatest value of each row, (rows, 2)."""
    starts = np.arange(len(blocks))[:, None] * blocks.shape[1]
    is_missing = np.isnan(blocks)
    low = np.where(is_missing, math.inf, blocks).argmin(axis=1, keepdims=True)
    high = np.where(is_missing, -math.inf, blocks).argmax(axis=1, keepdims=True)
    return np.concatenate((low, high), axis=1) + starts


def _thinned(values: Floats, max_points: int) -> Ints:
    """Places of at most `max_points` values: the extremes of equal parts, the first and the last."""
    count = len(values)
    if count <= max_points:
        return np.arange(count)
    width = -(-count // max((max_points - 2) // 2, 1))
    padded = np.pad(values, (0, -count % width), mode="edge").reshape(-1, width)
    places = np.minimum(_extremes(padded).ravel(), count - 1)
    return np.unique(np.concatenate(([0], places, [count - 1])))
