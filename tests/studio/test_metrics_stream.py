"""A chart follows a file that grows, whatever is in it, at the cost of what is new."""

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.data.metric_rows import latest_rows
from studio.metrics_stream import FAR_BYTES, MetricsStream


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def row(step: int, *, attempt: int = 1, **values: float) -> dict[str, Any]:
    return {"attempt": attempt, "step": step, "time": 1e9 + step, **(values or {"loss": 10 / (step + 1)})}


def read_all(stream: MetricsStream) -> None:
    stream.poll()
    while stream.is_behind:
        stream.poll(budget_s=0.5)


def points(stream: MetricsStream, name: str = "loss", max_points: int = 2000) -> list[tuple[int, float]]:
    series = stream.series(name, max_points)
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


def test_rows_come_as_they_are_written_and_a_torn_line_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    stream = MetricsStream(path)
    assert (stream.poll(), stream.names()) == (0, [])
    whole = lines([row(1), row(2)])
    path.write_bytes(whole + b'{"attempt": 1, "st')
    assert (stream.poll(), stream.poll()) == (2, 0)
    path.write_bytes(whole + lines([row(3)]))
    assert stream.poll() == 1
    assert [step for step, _ in points(stream)] == [1, 2, 3]
    assert stream.latest == row(3)
    assert stream.names() == ["time", "loss"]


def test_lines_that_are_no_rows_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    bad = [b"", b"null", b"[1]", b'{"step": 1}', b'{"attempt": "1", "step": 1}', b"\xff\xfe", b"[" * 5000, b'{"at']
    path.write_bytes(
        b"\n".join(bad) + b"\n" + lines([row(1), {"attempt": 1, "step": 2, "loss": math.nan, "note": "x"}])
    )
    with path.open("ab") as file:
        file.write(b"x" * 600_000 + b"\n" + lines([row(3)]))
    stream = MetricsStream(path)
    read_all(stream)
    assert [step for step, _ in points(stream)] == [1, 3]
    assert stream.names() == ["time", "loss"]


def test_what_a_later_attempt_did_again_replaces_what_was_before(tmp_path: Path) -> None:
    path, draw = tmp_path / "metrics.jsonl", random.Random(1)
    rows: list[dict[str, Any]] = []
    step = 0
    for attempt in range(1, 8):
        for _ in range(draw.randint(5, 200)):
            step += draw.randint(1, 3)
            rows.append(row(step, attempt=attempt, loss=draw.random()))
            if draw.random() < 0.1:
                rows.append(row(step, attempt=attempt, validation_loss=draw.random()))
        step = draw.randint(max(step - 150, 0), step)
    rows.insert(len(rows) // 2, row(3, attempt=1, loss=0.5))  # out of order: a file that somebody edited
    stream = MetricsStream(path)
    for start in range(0, len(rows), 37):
        with path.open("ab") as file:
            file.write(lines(rows[start : start + 37]))
        stream.poll()
        kept = latest_rows(rows[: start + 37])
        for name in ("loss", "validation_loss"):
            assert points(stream, name, 10**6) == [(one["step"], one[name]) for one in kept if name in one]


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines([row(step) for step in range(50)]))
    stream = MetricsStream(path)
    stream.poll()
    (tmp_path / "new").write_bytes(lines([row(1, loss=1.0)]))
    (tmp_path / "new").replace(path)
    stream.poll()
    assert points(stream) == [(1, 1.0)]
    path.unlink()
    stream.poll()
    assert points(stream) == []


@pytest.mark.parametrize("count", [1999, 2001, 50_000])
def test_a_thinned_series_keeps_its_extremes_and_ends(tmp_path: Path, count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    values[count // 3], values[count // 2] = 99.0, -99.0
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines([row(step, loss=float(value)) for step, value in enumerate(values)]))
    stream = MetricsStream(path)
    read_all(stream)
    series = stream.series("loss")
    assert min(count, 1300) <= len(series.steps) <= 2000
    assert (np.diff(series.steps) > 0).all()
    assert (series.values == values[series.steps]).all()
    assert (series.values.max(), series.values.min()) == (99.0, -99.0)
    assert (series.steps[0], series.steps[-1]) == (0, count - 1)


def test_a_long_file_is_shown_at_once_and_read_on_while_it_grows(tmp_path: Path) -> None:
    count = 120_000
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(lines([row(step, loss=float(step % 977)) for step in range(count)]))
    assert path.stat().st_size > FAR_BYTES
    stream = MetricsStream(path)
    stream.poll(budget_s=0)
    assert stream.is_behind
    series = stream.series("loss")
    assert len(series.steps) > 500
    assert series.steps[-1] == stream.latest["step"] == count - 1
    assert np.diff(series.steps).max() < count / 100  # no hole
    with path.open("ab") as file:
        file.write(lines([row(count, loss=5000.0)]))
    stream.poll(budget_s=0)
    assert stream.latest["step"] == count
    assert points(stream)[-1] == (count, 5000.0)
    read_all(stream)
    assert points(stream, "loss", 10**7)[-1] == (count, 5000.0)
    assert len(stream.series("loss", 10**7).steps) >= count // 64


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_two_hundred_runs_open_in_a_second_and_tick_in_a_tenth(tmp_path: Path) -> None:
    """199 runs of 2,000 rows and one of a million, by processor time, which other programs do not stretch."""
    names = ("loss", "learning_rate", "grad_norm", "tokens_per_s", "data_wait", "efficiency", "eta_s", "memory_bytes")
    made = lines([row(step, **dict.fromkeys(names, step * 1.25)) for step in range(2000)])
    for number in range(199):
        (tmp_path / f"{number}.jsonl").write_bytes(made)
    with (tmp_path / "199.jsonl").open("wb") as file:
        for part in range(500):
            file.write(made.replace(b'"step": ', b'"step": %d' % (part + 1)))
    long = MetricsStream(tmp_path / "199.jsonl")
    streams = [MetricsStream(tmp_path / f"{number}.jsonl") for number in range(199)]
    first = seconds(lambda: (long.poll(), [long.series(name) for name in names]))
    opened = seconds(lambda: [stream.poll() for stream in streams[:8]])
    assert first < 0.4
    assert opened < 0.6
    ticks = []
    while long.is_behind:
        ticks.append(seconds(lambda: (long.poll(), [long.series(name) for name in names])))
    assert np.quantile(ticks, 0.9) < 0.1
    for stream in streams:
        read_all(stream)
    for number in range(200):
        with (tmp_path / f"{number}.jsonl").open("ab") as file:
            file.write(lines([row(2_000_000, loss=1.0)]))
    assert seconds(lambda: [stream.poll() for stream in (*streams, long)]) < 0.1
    assert seconds(lambda: [long.series(name) for name in names]) < 0.1


def seconds(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
