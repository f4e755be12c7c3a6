"""Metrics as the charts ask for them: whole series at first, then the rows that are new."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from app.studio_metrics import MetricsReader, last_rows


def row(step: int, attempt: int = 1, **values: Any) -> dict[str, Any]:
    return {"attempt": attempt, "step": step, "time": 1.0, "loss": 1.0 / step, **values}


def write(run: Path, *rows: dict[str, Any], end: str = "") -> int:
    """Append rows, and what a writer has not finished; the length of the file."""
    path = run / "metrics.jsonl"
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{json.dumps(one)}\n" for one in rows) + end)
    return path.stat().st_size


def test_the_first_answer_has_the_series_and_the_next_one_only_what_is_new(tmp_path: Path) -> None:
    reader = MetricsReader()
    size = write(tmp_path, row(1), row(2, validation_loss=0.7))
    first = reader.news(tmp_path, 0)
    assert first == {
        "offset": size,
        "attempt": 1,
        "is_sample": False,
        "series": {"loss": [[1, 2], [1.0, 0.5]], "validation_loss": [[2], [0.7]]},
    }
    assert reader.news(tmp_path, size) == {"offset": size, "rows": []}
    longer = write(tmp_path, row(3))
    assert reader.news(tmp_path, size) == {"offset": longer, "rows": [row(3)]}


def test_half_a_row_waits_for_its_end(tmp_path: Path) -> None:
    size = write(tmp_path, row(1))
    write(tmp_path, end='{"attempt": 1, "st')
    assert MetricsReader().news(tmp_path, size) == {"offset": size, "rows": []}


def test_rows_that_are_none_and_numbers_that_are_none_are_left_out(tmp_path: Path) -> None:
    size = write(tmp_path, row(1))
    write(tmp_path, end='nonsense\n["a list"]\n{"attempt": 1, "step": 2, "loss": NaN, "note": "<b>", "kl": 0.5}\n')
    assert MetricsReader().news(tmp_path, size)["rows"] == [{"attempt": 1, "step": 2, "kl": 0.5}]


@pytest.mark.parametrize("offset", [10**9, 0])
def test_an_offset_beyond_the_file_gives_the_series_again(tmp_path: Path, offset: int) -> None:
    write(tmp_path, row(1))
    assert MetricsReader().news(tmp_path, offset)["series"]["loss"] == [[1], [1.0]]


def test_a_run_without_metrics_has_no_series(tmp_path: Path) -> None:
    assert MetricsReader().news(tmp_path, 0) == {"offset": 0, "series": {}, "attempt": 0, "is_sample": False}
    assert last_rows(tmp_path) == []


def test_the_last_rows_are_whole_ones(tmp_path: Path) -> None:
    write(tmp_path, *(row(step) for step in range(1, 3001)))
    rows = last_rows(tmp_path)
    assert rows[-1]["step"] == 3000
    assert [one["step"] for one in rows] == list(range(3001 - len(rows), 3001))
    assert 100 < len(rows) < 2000


def test_a_long_file_is_told_from_a_sample_and_once_more_when_it_is_read(tmp_path: Path) -> None:
    count = 60_000
    size = write(tmp_path, *(row(step) for step in range(1, count + 1)))
    reader = MetricsReader()
    first = reader.news(tmp_path, 0)
    assert (first["is_sample"], first["offset"]) == (True, size)
    assert first["series"]["loss"][0][-1] == count
    longer = write(tmp_path, row(count + 1))
    news = reader.news(tmp_path, size, has_sample=True)
    deadline = time.monotonic() + 30
    while "series" not in news and time.monotonic() < deadline:
        time.sleep(0.05)
        news = reader.news(tmp_path, longer, has_sample=True)
    assert (news["is_sample"], news["offset"]) == (False, longer)
    assert reader.news(tmp_path, longer) == {"offset": longer, "rows": []}


def test_few_rows_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.studio_metrics.MAX_ROWS", 5)
    reader = MetricsReader()
    for name in "abc":
        (tmp_path / name).mkdir()
        write(tmp_path / name, *(row(step) for step in range(1, 4)))
        reader.news(tmp_path / name, 0)
    assert sum(stream.num_rows for stream in reader._streams.values()) <= 6
