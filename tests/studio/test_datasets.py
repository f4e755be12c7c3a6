"""What is said of files is what is in them, within bounds, whatever is in them."""

import gzip
import json
import time
from pathlib import Path

import pytest

from core.data import streams
from core.data.formats import KINDS_OF_STAGE
from core.data.prepare import main_kind
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from studio import datasets
from studio.datasets import look_at
from tests.conftest import SHARED_DATA
from tests.core.conftest import sentences

TEXTS = sentences(200, seed=8)


def jsonl(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def chats(count: int) -> list[object]:
    return [{"instruction": f"{TEXTS[i]} {i}", "output": TEXTS[-1 - i]} for i in range(count)]


def pairs(count: int) -> list[object]:
    return [{"prompt": TEXTS[i], "chosen": TEXTS[i + 1], "rejected": TEXTS[i + 2]} for i in range(count)]


def test_conversations_are_counted_measured_and_shown(tmp_path: Path, tokenizer: Tokenizer) -> None:
    report = look_at([jsonl(tmp_path / "chat.jsonl", chats(40))], tokenizer=tokenizer)
    assert (report.kind, report.kinds, report.num_rows, report.is_sampled) == ("sft", {"sft": 40}, 40, False)
    assert report.stages == ("pt", "sft", "ppo", "grpo")
    assert report.lengths.unit == "tokens"
    assert sum(report.lengths.counts) == 40
    assert report.lengths.edges[-2] <= report.lengths.longest < report.lengths.edges[-1]
    assert report.preview[0].parts == (("user", f"{TEXTS[0]} 0"), ("assistant", TEXTS[-1]))
    assert [preview.row for preview in report.preview] == [1, 2, 3]
    assert (report.num_bad, report.num_exact_duplicates) == (0, 0)


def test_bad_rows_have_their_file_row_and_reason(tmp_path: Path) -> None:
    rows = [*chats(3), {"instruction": "and?", "output": ""}, {"unknown": 1}, {"text": "short"}]
    path = jsonl(tmp_path / "chat.jsonl", rows)
    path.write_text(path.read_text() + '{"broken\n')
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    report = look_at([tmp_path])
    found = [(bad.file, bad.row, bad.reason) for bad in report.bad_rows]
    assert found[:3] == [
        ("chat.jsonl", 4, "the answer is empty"),
        ("chat.jsonl", 5, "no known fields among unknown"),
        ("chat.jsonl", 6, "shorter than 10 characters"),
    ]
    assert found[3][:2] == ("chat.jsonl", 7)
    assert found[3][2].startswith("broken JSON")
    assert found[4] == ("picture.png", 0, "not a kind of file that is read")
    assert (report.num_bad, report.num_rows, report.lengths.unit) == (5, 8, "characters")


def test_equal_and_similar_rows_are_found_across_files(tmp_path: Path) -> None:
    long = " ".join(TEXTS[:60])
    jsonl(tmp_path / "a.jsonl", [{"text": long}, {"text": TEXTS[70] * 3}])
    jsonl(tmp_path / "b.jsonl", [{"text": long.upper()}, {"text": f"{long} and one word more"}])
    report = look_at([tmp_path])
    assert (report.num_exact_duplicates, report.num_near_duplicates) == (1, 1)
    assert report.duplicate_examples == (
        ("b.jsonl, line 1", "a.jsonl, line 1"),
        ("b.jsonl, line 2", "a.jsonl, line 1"),
    )


def test_mixed_files_suit_every_stage_and_the_kind_is_that_of_prepare(tmp_path: Path) -> None:
    jsonl(tmp_path / "pairs.jsonl", pairs(30))
    jsonl(tmp_path / "chats.jsonl", chats(5))
    report = look_at([tmp_path])
    assert report.kinds == {"preference": 30, "sft": 5}
    assert report.stages == tuple(KINDS_OF_STAGE)
    assert report.kind == main_kind([["sft"] * 5, ["preference"] * 30]) == "preference"
    assert [part for part, _ in next(p for p in report.preview if p.kind == "preference").parts] == [
        "user", "chosen", "rejected",
    ]  # fmt: skip


def test_a_large_file_is_sampled_and_its_rows_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_FILE_ROWS", 1000)
    path = jsonl(tmp_path / "chat.jsonl", [{"text": f"{TEXTS[i % 200]} {i}"} for i in range(20_000)])
    report = look_at([path])
    assert report.is_sampled
    assert report.kinds["pt"] + report.num_bad == 1000
    assert report.num_rows == pytest.approx(20_000, rel=0.15)


def test_ten_gigabytes_of_nothing_take_no_longer_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "holes.jsonl"
    with path.open("wb") as file:
        file.write(b'{"text": "the first row of many"}\n' * 10_000)
        file.truncate(10 << 30)
    start = time.monotonic()
    report = look_at([path], max_seconds=1.0)
    assert time.monotonic() - start < 8
    assert (report.num_bytes, report.is_sampled) == (10 << 30, True)


def test_a_bomb_is_refused_and_a_stop_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_FREE_UNPACKED_BYTES", 1 << 20)
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb") as file:
        file.write(b'{"text": "the first row of many"}\n' + b"x" * (3 << 20))
    report = look_at([tmp_path])
    assert (report.num_rows, report.num_bad) == (2, 1)
    assert "unpacks to more than" in report.bad_rows[0].reason
    stopped = look_at([tmp_path], should_stop=lambda: True)
    assert (stopped.num_rows, stopped.kind, stopped.is_sampled) == (0, None, True)


def test_a_path_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        look_at([tmp_path / "none"])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("place", "kind", "stages"),
    [
        ("sft/en/alpaca-52k/alpaca_data-00000-03252.json.gz", "sft", ("pt", "sft", "ppo", "grpo")),
        ("preference/en/rasbt-instruction-data-with-preference.json", "preference", ("rm", "dpo", "ppo", "grpo")),
        ("preference/zh/medicalgpt-dpo_zh_500.jsonl.gz", "preference", ("rm", "dpo", "ppo", "grpo")),
        ("pretrain/zh/wikipedia-zh-AA56.txt", "pt", ("pt",)),
        ("eval/en/gsm8k-test.jsonl", "sft", ("pt", "sft", "ppo", "grpo")),
    ],
)
def test_real_files_are_recognised(place: str, kind: str, stages: tuple[str, ...]) -> None:
    report = look_at([SHARED_DATA / place], max_seconds=2.0)
    assert (report.kind, report.stages) == (kind, stages)
    assert report.preview
    assert report.lengths.median > 10


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["rag/hostile", "sft/hostile"])
def test_hostile_files_end_in_reports(folder: str) -> None:
    assert look_at([SHARED_DATA / folder]).bad_rows
