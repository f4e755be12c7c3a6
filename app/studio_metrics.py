"""The numbers of runs as the page's charts ask for them: whole series at first, then what is new.

A browser that has drawn a run asks again with the byte offset it has reached, and gets the rows beyond it; the cost
follows what is new. Series are down-sampled by `studio.metrics_stream`.
"""

import json
import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.metrics_stream import MetricsStream

METRICS_FILE = "metrics.jsonl"
MAX_NEW_BYTES = 1 << 19  # of rows that are sent one by one; beyond that the series are sent again
MAX_OPEN = 24  # runs whose series are kept in memory
MAX_POINTS = 1000
TAIL_BYTES = 1 << 16
NO_CHART = ("time", "tokens", "eta_s")  # of which nobody wants a chart
Row = dict[str, Any]


class MetricsReader:
    """Answers for the metrics of any run folder. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: OrderedDict[Path, MetricsStream] = OrderedDict()

    def news(self, run: Path, offset: int) -> dict[str, Any]:
        """`series` by name with the offset that they reach, or for an offset beyond 0 the `rows` after it."""
        path = run / METRICS_FILE
        size = path.stat().st_size if path.exists() else 0
        if 0 < offset <= size and size - offset <= MAX_NEW_BYTES:
            rows, reached = _rows_after(path, offset)
            return {"offset": reached, "rows": rows}
        return self._series(path)

    def _series(self, path: Path) -> dict[str, Any]:
        from studio.metrics_stream import MetricsStream

        with self._lock:
            stream = self._streams.pop(path, None) or MetricsStream(path)
            self._streams[path] = stream
            if len(self._streams) > MAX_OPEN:
                self._streams.popitem(last=False)
            stream.poll()
            found = {name: stream.series(name, MAX_POINTS) for name in stream.names() if name not in NO_CHART}
            series = {name: [one.steps.tolist(), one.values.tolist()] for name, one in found.items()}
            offset = 0 if stream.is_behind else stream.offset
            return {"offset": offset, "series": series, "attempt": stream.latest.get("attempt", 0)}


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
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read(MAX_NEW_BYTES + TAIL_BYTES)
    if is_torn:
        content = content[content.find(b"\n") + 1 :]
    end = content.rfind(b"\n") + 1
    found = [_row(line) for line in content[:end].splitlines()]
    return [row for row in found if row is not None], offset + end


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    if not (isinstance(row, dict) and isinstance(row.get("step"), int) and isinstance(row.get("attempt"), int)):
        return None
    return {name: value for name, value in row.items() if isinstance(value, int | float) and math.isfinite(value)}
