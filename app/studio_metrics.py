"""The numbers of runs as the page's charts ask for them: whole series at first, then what is new.

A browser that has drawn a run asks again with the byte offset it has reached, and gets the rows beyond it; the cost
follows what is new. Series are down-sampled by `studio.metrics_stream`. A long file is answered from a sample at first;
a thread reads it in slices so short that no answer waits for it, and then the browser gets the series once more.
"""

import math
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.metrics_stream import MetricsStream

METRICS_FILE = "metrics.jsonl"
MAX_NEW_BYTES = 1 << 19  # of rows that are sent one by one; beyond that the series are sent again
MAX_OPEN, MAX_ROWS = 24, 4_000_000  # runs and rows of them that are kept in memory
MAX_POINTS = 1000
TAIL_BYTES = 1 << 15
PAUSE_S = 0.008  # between two slices of a long file: several times as long as one takes
NO_CHART = ("time", "tokens", "eta_s")  # of which nobody wants a chart
Row = dict[str, Any]


class MetricsReader:
    """Answers for the metrics of any run folder. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: OrderedDict[Path, MetricsStream] = OrderedDict()
        self._read_on: set[Path] = set()  # those that a thread is reading

    def news(self, run: Path, offset: int, *, has_sample: bool = False) -> dict[str, Any]:
        """`series` by name with the offset that they reach, or for an offset beyond 0 the `rows` after it.

        `is_sample` says that the series are known from a sample only: who asks on with `has_sample` gets them again
        as soon as they are whole.
        """
        path = run / METRICS_FILE
        size = path.stat().st_size if path.exists() else 0
        is_near = 0 < offset <= size and size - offset <= MAX_NEW_BYTES
        if is_near and not (has_sample and path not in self._read_on):
            rows, reached = _rows_after(path, offset)
            return {"offset": reached, "rows": rows}
        return self._series(path)

    def _series(self, path: Path) -> dict[str, Any]:
        from studio.metrics_stream import MetricsStream

        with self._lock:
            stream = self._streams.pop(path, None) or MetricsStream(path)
            self._streams[path] = stream
            while len(self._streams) > 1 and self._is_too_much():
                self._streams.popitem(last=False)
            stream.poll()
            if stream.is_behind and path not in self._read_on:
                self._read_on.add(path)
                threading.Thread(target=self._catch_up, args=(path, stream), name="metrics", daemon=True).start()
            found = {name: stream.series(name, MAX_POINTS) for name in stream.names() if name not in NO_CHART}
            series = {name: [one.steps.tolist(), one.values.tolist()] for name, one in found.items()}
            attempt = stream.latest.get("attempt", 0)
            return {"offset": stream.offset, "series": series, "attempt": attempt, "is_sample": stream.is_behind}

    def _is_too_much(self) -> bool:
        return len(self._streams) > MAX_OPEN or sum(one.num_rows for one in self._streams.values()) > MAX_ROWS

    def _catch_up(self, path: Path, stream: "MetricsStream") -> None:
        """Read a file that is far ahead, in slices."""
        try:
            while stream.is_behind and self._streams.get(path) is stream:
                with self._lock:
                    stream.poll(budget_s=0)
                time.sleep(PAUSE_S)
        finally:
            self._read_on.discard(path)


def last_rows(run: Path) -> list[Row]:
    """The rows at the end of a run's metrics, oldest first."""
    path = run / METRICS_FILE
    if not path.exists():
        return []
    start = max(path.stat().st_size - TAIL_BYTES, 0)
    rows, _ = _rows_after(path, start, is_torn=start > 0)
    return rows


def _rows_after(path: Path, offset: int, *, is_torn: bool = False) -> tuple[list[Row], int]:
    """The whole rows from an offset on, and where they end. `is_torn`: the offset may lie within a row."""
    from studio.metrics_stream import parsed_row

    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(MAX_NEW_BYTES + TAIL_BYTES)
    if is_torn:
        content = content[content.find(b"\n") + 1 :]
    end = content.rfind(b"\n") + 1
    rows = filter(None, map(parsed_row, content[:end].splitlines()))
    return [{name: value for name, value in row.items() if _is_shown(value)} for row in rows], offset + end


def _is_shown(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
