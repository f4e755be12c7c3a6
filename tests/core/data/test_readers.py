"""Files to records: every kind of file, and what is broken told by its place."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.readers import DOCUMENT_CHARS, is_readable_name, read_file
from core.data.records import Record, place_text
from core.data.streams import InputFile

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=30)
per_example = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Reading:
    """The records of a file, the problems and the bytes that were told."""

    def __init__(self, folder: Path, name: str, content: str | bytes) -> None:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.problems: list[tuple[str, int, str]] = []
        self.num_bytes = 0
        self.records: list[Record] = list(read_file(InputFile(path, name), self._report, self._advance))
        self.values: list[Any] = [record.value for record in self.records]
        self.rows = [record.row for record in self.records]

    def _report(self, file: str, row: int, what: str) -> None:
        self.problems.append((file, row, what))

    def _advance(self, count: int) -> None:
        self.num_bytes += count


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "name", ["a.txt", "A.MD", "a.jsonl.gz", "a.ndjson", "a.tar", "a.tgz", "a.zip", "a.tsv", "a.parquet"]
)
def test_kinds_of_file_that_are_read(name: str) -> None:
    assert is_readable_name(name)


@pytest.mark.parametrize("name", ["a.pdf", "a.gz", "a.7z", "a", "txt", "a.txt.bz2", "a.pkl"])
def test_kinds_of_file_that_are_not_read(name: str) -> None:
    assert not is_readable_name(name)


def test_a_short_text_is_one_document(tmp_path: Path) -> None:
    assert Reading(tmp_path, "a.txt", "\n one\n\ntwo \n").values == ["one\n\ntwo"]


def test_a_long_text_is_cut_after_a_paragraph(tmp_path: Path) -> None:
    paragraph = "x" * 70 + "\n" + "y" * 70 + "\n\n"
    text = paragraph * (3 * DOCUMENT_CHARS // len(paragraph))
    reading = Reading(tmp_path, "a.md", text)
    assert len(reading.values) == 3
    assert all(value.endswith("y") and value.startswith("x") for value in reading.values)
    assert "\n\n".join(reading.values) == text.strip()
    assert reading.rows[1] == 1 + reading.values[0].count("\n") + 2


def test_a_corpus_with_a_document_on_each_line_is_read_by_lines(tmp_path: Path) -> None:
    lines = [f"{number} " + "word " * 100 for number in range(2000)]
    reading = Reading(tmp_path, "a.txt", "\n".join(lines))
    assert reading.values == [line.strip() for line in lines]
    assert reading.rows == list(range(1, 2001))


def test_wikipedia_extracts_are_articles_without_marks(tmp_path: Path) -> None:
    text = (
        '<doc id="1" title="A">\nA\n\nText -{zh-hans:计算机; zh-hant:電腦}- and -{this}-<br>.\n</doc>\n'
        '<doc id="2" title="B">\nB\n</doc>\n<doc id="3">\nC\n\nlast'
    )
    reading = Reading(tmp_path, "a.txt", text)
    assert reading.values == ["A\n\nText 计算机 and this.", "C\n\nlast"]
    assert reading.problems == [("a.txt", 6, "the article is only a title")]


def test_wikitext_is_cut_at_its_titles(tmp_path: Path) -> None:
    reading = Reading(tmp_path, "a.txt", " = One = \n text\n = = Part = = \n more\n = Two = \n end\n")
    assert reading.values == ["= One = \n text\n = = Part = = \n more", "= Two = \n end"]
    assert reading.rows == [1, 5]


@per_example
@given(
    st.lists(
        st.dictionaries(LINE, LINE | st.integers() | st.lists(LINE, max_size=2), min_size=1, max_size=3),
        min_size=1,
        max_size=5,
    )
)
def test_json_is_read_the_same_in_every_shape(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    for name, content in (
        ("a.jsonl", lines),
        ("b.json", lines),
        ("c.json", json.dumps(rows)),
        ("d.json", json.dumps(rows, indent=1)),
        ("e.json", "\n".join(json.dumps(row, indent=1) for row in rows)),
    ):
        reading = Reading(tmp_path, name, content)
        assert (reading.values, reading.problems) == (rows, []), name
        assert reading.rows == list(range(1, len(rows) + 1))


def test_a_broken_line_is_told_and_the_others_are_kept(tmp_path: Path) -> None:
    reading = Reading(tmp_path, "a.jsonl", '{"a": 1}\n\n{"a": \n[1]\n"text"\n{"a": 2}')
    assert reading.values == [{"a": 1}, "text", {"a": 2}]
    assert reading.rows == [1, 5, 6]
    assert [problem[1] for problem in reading.problems] == [3, 4]
    assert reading.problems[1][2] == "a JSON list, not an object"


def test_an_array_that_breaks_off_tells_line_and_record(tmp_path: Path) -> None:
    reading = Reading(tmp_path, "a.json", '[{"a": 1},\n{"a": 2},\n{"a": oops}]')
    assert reading.values == [{"a": 1}, {"a": 2}]
    assert reading.problems[0][:2] == ("a.json", 3)
    assert reading.problems[0][2].startswith("broken JSON at line 3, after record 2: ")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize("bomb", ["[" * 200_000, '{"a":' * 200_000, '[{"a":1},' + "[" * 200_000])
def test_a_bomb_of_brackets_is_one_problem(tmp_path: Path, name: str, bomb: str) -> None:
    reading = Reading(tmp_path, name, bomb)
    assert len(reading.problems) == 1
    assert "nested deeper" in reading.problems[0][2] or "recursion" in reading.problems[0][2]


def test_an_overlong_line_or_value_is_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.records.MAX_LINE_CHARS", 1000)
    monkeypatch.setattr("core.data.json_reader.MAX_LINE_CHARS", 1000)
    reading = Reading(tmp_path, "a.jsonl", '{"a": "%s"}\n{"a": 1}\n' % ("x" * 5000))
    assert reading.values == [{"a": 1}]
    assert reading.rows == [2]
    assert reading.problems == [("a.jsonl", 1, "a line over 1,000 characters")]
    reading = Reading(tmp_path, "a.json", '[{"a": 1}, {"a": "%s"}]' % ("x\\n" * 50_000))
    assert reading.values == [{"a": 1}]
    assert reading.problems[0][2].endswith("a value over 1,000 characters")


@per_example
@given(st.lists(st.tuples(LINE, LINE), min_size=1, max_size=5), st.sampled_from(",;\t|"))
def test_tables_with_known_columns_are_read_whole(tmp_path: Path, rows: list[tuple[str, str]], mark: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=mark).writerows([("Instruction", "output"), *rows])
    reading = Reading(tmp_path, "a.csv", out.getvalue())
    assert reading.values == [{"instruction": first, "output": second} for first, second in rows]
    assert reading.rows == list(range(2, len(rows) + 2))


def test_parallel_text_without_a_header_keeps_its_quotes(tmp_path: Path) -> None:
    text = 'He said "no.\t他说"不。\nShe, too.\t她也是。\n'
    assert Reading(tmp_path, "a.tsv", text).values == ['He said "no.\n他说"不。', "She, too.\n她也是。"]


def test_a_cell_over_the_limit_is_told_with_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.readers.MAX_LINE_CHARS", 100)
    reading = Reading(tmp_path, "a.csv", 'text,x\nfine,1\n"%s",2\n' % ("y" * 500))
    csv.field_size_limit(1 << 25)
    assert reading.values == [{"text": "fine", "x": "1"}]
    assert reading.problems == [("a.csv", 3, "broken table: field larger than field limit (100)")]


def test_parquet_is_read_alone_packed_and_in_an_archive(tmp_path: Path) -> None:
    rows = [{"text": f"row {number}", "n": number} for number in range(200)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("inner.parquet", parquet(rows))
    for name, content in (
        ("a.parquet", parquet(rows, row_group_size=30)),
        ("a.parquet.gz", gzip.compress(parquet(rows))),
        ("a.zip", out.getvalue()),
    ):
        reading = Reading(tmp_path, name, content)
        assert (reading.values, reading.problems) == (rows, []), name


def test_a_parquet_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.readers.MAX_FREE_UNPACKED_BYTES", 1 << 10)
    monkeypatch.setattr("core.data.readers.MAX_UNPACK_RATIO", 2)
    content = parquet([{"text": f"{number}" * 3000} for number in range(99)], use_dictionary=False)
    reading = Reading(tmp_path, "a.parquet", content)
    assert reading.values == []
    assert "unpacks to" in reading.problems[0][2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt.gz", b"not gzip"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 999)[:40]),
        ("a.zip", b"PK\x03\x04 not zip"),
        ("a.tar.gz", gzip.compress(b"not tar" * 500)),
        ("a.parquet", b"PAR1" + b"x" * 99 + b"PAR1"),
        ("a.txt", b""),
        ("a.json", b"\x00\x01\x02\x03" * 100),
    ],
)
def test_a_broken_file_is_one_problem_of_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    reading = Reading(tmp_path, name, content)
    assert [problem[:2] for problem in reading.problems] == [(name, 0)]


@per_example
@given(
    st.binary(max_size=400),
    st.sampled_from(
        ["a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.zip", "a.tar.gz", "a.txt.gz", "a.tar"]
    ),
)
def test_no_bytes_raise(tmp_path: Path, content: bytes, name: str) -> None:
    for whole in (content, b'[{"text": "a"}, ' + content, b"text,label\n" + content, gzip.compress(content)):
        reading = Reading(tmp_path, name, whole)
        assert all(isinstance(record.value, str | dict) for record in reading.records)


def test_the_bytes_read_from_disk_are_told(tmp_path: Path) -> None:
    content = gzip.compress(b"some text " * 5000)
    assert Reading(tmp_path, "a.txt.gz", content).num_bytes == len(content)


@pytest.mark.parametrize(
    ("file", "row", "text"),
    [("a.jsonl", 3, "a.jsonl, line 3"), ("a.json.gz", 1234, "a.json.gz, row 1,234"), ("a.zip/b.txt", 0, "a.zip/b.txt")],
)
def test_places_are_said_in_words(file: str, row: int, text: str) -> None:
    assert place_text(file, row) == text
