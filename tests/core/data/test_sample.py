"""The sample that a vocabulary is learnt from."""

from pathlib import Path

from core.data.sample import sample_texts
from core.data.streams import input_files


def test_every_file_gives_its_share_however_large_the_first_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("english text " * 3000, encoding="utf-8")
    (tmp_path / "b.txt").write_text("中文文本" * 3250, encoding="utf-8")
    text = "".join(sample_texts(input_files([tmp_path]), max_chars=1000))
    assert 480 <= len([char for char in text if char.isascii()]) <= 520
    assert 480 <= len([char for char in text if not char.isascii()]) <= 520


def test_files_and_rows_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "kept"}\n{"other": 1}\nbroken\n', encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    assert list(sample_texts(input_files([tmp_path]), max_chars=1000)) == ["kept"]
