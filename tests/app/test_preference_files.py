"""Pairs out of the store, back into it, and as `prepare` reads them."""

import json
from pathlib import Path

from app.preference_files import export_pairs, import_pairs
from app.preference_rows import Answer, Origin, Review, Source
from app.preferences import Preferences
from core.data.formats import Preference, recognise
from core.files import write_bytes

QUESTION = [{"role": "user", "content": "你好吗？"}]


def test_what_is_written_is_what_prepare_reads(tmp_path: Path) -> None:
    preferences = Preferences(tmp_path)
    preferences.correct(QUESTION, Answer("bad", Origin("starter", "f", "int4", "", {"seed": 1})), "很好，谢谢。")
    assert export_pairs(preferences.pairs(), tmp_path / "pairs.jsonl") == 1
    (line,) = (tmp_path / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    assert recognise(json.loads(line)) == Preference(QUESTION, "很好，谢谢。", "bad")


def test_a_file_that_was_exported_gives_the_same_store_again(tmp_path: Path) -> None:
    first, second = Preferences(tmp_path / "a"), Preferences(tmp_path / "b")
    first.rank(QUESTION, [Answer(text, Origin("starter")) for text in ("a", "b", "c")])
    first.review([first.pairs()[0].id], Review.KEPT)
    export_pairs(first.pairs(), tmp_path / "pairs.jsonl")
    report = import_pairs(second, tmp_path / "pairs.jsonl")
    assert (report.num_added, report.num_known, report.num_bad) == (3, 0, 0)
    assert second.pairs() == first.pairs()
    assert import_pairs(second, tmp_path / "pairs.jsonl").num_known == 3


def test_rows_of_others_wait_for_a_review_and_bad_rows_are_told(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "c", "rejected": "r", "source": ["x"], "review": "?", "time": 1e999},
        {"prompt": "q", "chosen": "same", "rejected": "same"},
        {"text": "a story"},
    ]
    write_bytes(tmp_path / "pairs.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode() + b"{broken\n")
    preferences = Preferences(tmp_path)
    report = import_pairs(preferences, tmp_path / "pairs.jsonl")
    assert (report.num_added, report.num_bad) == (1, 3)
    assert [row for row, _ in report.problems] == [2, 3, 4]
    (pair,) = preferences.pairs()
    assert (pair.source, pair.review, pair.chosen.origin) == (Source.IMPORT, Review.NEW, Origin())


def test_what_is_in_the_store_stays_whatever_a_file_says(tmp_path: Path) -> None:
    preferences = Preferences(tmp_path)
    preferences.rank(QUESTION, [Answer("better"), Answer("worse")])
    (pair,) = preferences.pairs()
    preferences.review([pair.id], Review.KEPT)
    before = preferences.pairs()
    rows = [
        {"messages": QUESTION, "chosen": "worse", "rejected": "better", "review": "kept"},
        {"messages": QUESTION, "chosen": "better", "rejected": "worse", "review": "rejected"},
        {"messages": QUESTION, "chosen": "good", "rejected": " "},
        {"messages": QUESTION, "chosen": "good", "rejected": "bad"},
    ]
    write_bytes(tmp_path / "pairs.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows).encode())
    report = import_pairs(preferences, tmp_path / "pairs.jsonl")
    assert (report.num_added, report.num_known, report.num_opposite, report.num_bad) == (1, 1, 1, 1)
    assert preferences.pairs()[1:] == before
