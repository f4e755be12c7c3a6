"""Files to records: text, Markdown, JSON, JSON lines, CSV and Parquet, compressed or in archives.

Everything streams: a record is in memory, never a file. Compressed input is bounded, names inside an
archive are only names, and what cannot be read is reported with its file and line, not raised.
"""

import csv
import gzip
import io
import json
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import charset_normalizer
import ijson
import pyarrow
import pyarrow.parquet

TEXT_SUFFIXES = (".txt", ".md", ".rst", ".text")
LINE_SUFFIXES = (".jsonl", ".ndjson")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
SUFFIXES = (*TEXT_SUFFIXES, *LINE_SUFFIXES, ".json", ".csv", ".tsv", ".parquet")

HEAD_BYTES = 1 << 16
# A text file is one document, cut after a paragraph when it grows beyond this.
DOCUMENT_CHARS = 1 << 18
MAX_LINE_CHARS = 1 << 25
# What a compressed file may unpack to: this, or this many times its own size.
MAX_FREE_UNPACKED_BYTES, MAX_UNPACK_RATIO = 1 << 28, 200
MAX_PARQUET_IN_ARCHIVE_BYTES = 1 << 30

Report = Callable[[str, int, str], None]


@dataclass(frozen=True, slots=True)
class Record:
    """A text or a JSON object, and where it stands. `line` counts from 1; rows of a table likewise."""

    file: str
    line: int
    value: str | dict[str, Any]


class _UnpacksTooMuch(Exception):
    """A compressed file that grows beyond its bound."""


def input_files(paths: list[Path]) -> list[Path]:
    """The files named by paths, folders opened, in a fixed order."""
    files = []
    for path in paths:
        files += sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return files


def is_readable_name(name: str) -> bool:
    lower = name.lower()
    return lower.endswith(ARCHIVE_SUFFIXES) or lower.removesuffix(".gz").endswith(SUFFIXES)


def read_file(path: Path, report: Report, advance: Callable[[int], None]) -> Iterator[Record]:
    """Records of one file. `report(file, line, problem)` is told of all that is left out,
    `advance(bytes)` of the bytes read from disk."""
    try:
        with path.open("rb") as raw, closing(_members(path.name, _Counted(raw, advance), path.stat().st_size)) as parts:
            for name, stream in parts:
                yield from _read_member(name, stream, report)
    except (_UnpacksTooMuch, OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError) as exc:
        report(path.name, 0, f"reading stopped: {exc}")


def _members(name: str, raw: IO[bytes], size: int) -> Iterator[tuple[str, IO[bytes]]]:
    """(name, content) of a file itself or of each file in an archive."""
    lower = name.lower()
    limit = max(MAX_FREE_UNPACKED_BYTES, MAX_UNPACK_RATIO * size)
    if lower.endswith(".zip"):
        with zipfile.ZipFile(raw) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    with archive.open(info) as member:
                        yield f"{name}/{info.filename}", cast(IO[bytes], _Bounded(member, limit))
        return
    if lower.endswith((".tar", ".tar.gz", ".tgz")):
        with tarfile.open(fileobj=_Bounded(_gunzip(lower, raw), limit), mode="r|") as tar:
            for entry in tar:
                content = tar.extractfile(entry)
                if content is not None:
                    yield f"{name}/{entry.name}", content
        return
    if lower.endswith(".gz"):
        yield name, cast(IO[bytes], _Bounded(gzip.GzipFile(fileobj=raw), limit))
    else:
        yield name, raw


def _gunzip(lower: str, raw: IO[bytes]) -> IO[bytes]:
    return raw if lower.endswith(".tar") else cast(IO[bytes], gzip.GzipFile(fileobj=raw))


def _read_member(name: str, stream: IO[bytes], report: Report) -> Iterator[Record]:
    lower = name.lower()
    if lower.endswith(".gz") and "/" in name:
        stream = cast(IO[bytes], _Bounded(gzip.GzipFile(fileobj=stream), MAX_FREE_UNPACKED_BYTES))
    lower = lower.removesuffix(".gz")
    if lower.endswith(ARCHIVE_SUFFIXES) or not lower.endswith(SUFFIXES):
        report(name, 0, "not a kind of file that is read")
        return
    if lower.endswith(".parquet"):
        yield from _read_parquet(name, stream, report)
        return
    buffered = io.BufferedReader(cast(io.RawIOBase, _Raw(stream)), HEAD_BYTES)
    head = buffered.peek(HEAD_BYTES)
    if not head.strip():
        report(name, 0, "the file is empty")
        return
    encoding = detect_encoding(head)
    if encoding is None:
        report(name, 0, "a binary file")
        return
    with io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline=None) as text:
        yield from _READERS[_kind(lower)](name, text, report)


def _kind(lower: str) -> str:
    if lower.endswith(LINE_SUFFIXES):
        return "lines"
    return {".json": "json", ".csv": "csv", ".tsv": "tsv"}.get(Path(lower).suffix, "text")


def detect_encoding(head: bytes) -> str | None:
    """The encoding of a file by its beginning, or None when it is binary."""
    for mark, name in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if head.startswith(mark):
            return name
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if b"\0" in head:
        return None
    try:
        head.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError as exc:
        if exc.start >= len(head) - 4:  # the head may end inside a character
            return "utf-8"
    best = charset_normalizer.from_bytes(head).best()
    if best is None:
        return None
    return "gb18030" if best.encoding.startswith("gb") or best.encoding == "hz" else best.encoding


def _read_text(name: str, text: io.TextIOWrapper, report: Report) -> Iterator[Record]:
    """WikiExtractor articles, one document per line, or the whole file."""
    first = text.readline(MAX_LINE_CHARS)
    rest = iter(lambda: text.readline(MAX_LINE_CHARS), "")
    if first.startswith("<doc "):
        yield from _wiki_articles(name, rest)
        return
    lines = [first]
    for line in rest:
        lines.append(line)
        if len(lines) >= 50:
            break
    if name.lower().endswith(".txt") and _is_document_per_line(lines):
        for number, line in enumerate((*lines, *rest), start=1):
            if line.strip():
                yield Record(name, number, line.strip())
        return
    yield from _whole_documents(name, lines, rest)


def _is_document_per_line(lines: list[str]) -> bool:
    """Long lines and hardly a blank one: a corpus with a document on each."""
    filled = [line for line in lines if line.strip()]
    return len(filled) >= 10 and len(filled) > 0.9 * len(lines) and sum(map(len, filled)) / len(filled) > 150


def _whole_documents(name: str, lines: list[str], rest: Iterator[str]) -> Iterator[Record]:
    held, size, start, number = [], 0, 1, 0
    for number, line in enumerate((*lines, *rest), start=1):
        held.append(line)
        size += len(line)
        if size >= DOCUMENT_CHARS and (not line.strip() or size >= 2 * DOCUMENT_CHARS):
            yield Record(name, start, "".join(held).strip())
            held, size, start = [], 0, number + 1
    if "".join(held).strip():
        yield Record(name, start, "".join(held).strip())


def _wiki_articles(name: str, lines: Iterator[str]) -> Iterator[Record]:
    held: list[str] = []
    start = 1
    for number, line in enumerate(lines, start=2):
        if line.startswith("<doc "):
            held, start = [], number
        elif line.startswith("</doc>"):
            text = "".join(held).strip()
            if "\n" in text:  # a title alone is a redirect
                yield Record(name, start, text)
        else:
            held.append(re.sub(r"</?[a-z][^>]{0,80}>", "", line))


def _read_lines(name: str, text: io.TextIOWrapper, report: Report) -> Iterator[Record]:
    for number, line in enumerate(iter(lambda: text.readline(MAX_LINE_CHARS), ""), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as exc:
            problem = f"a line over {MAX_LINE_CHARS:,} characters" if len(line) >= MAX_LINE_CHARS else str(exc)
            report(name, number, f"broken JSON: {problem}")
            continue
        yield from _json_record(name, number, value, report)


def _read_json(name: str, text: io.TextIOWrapper, report: Report) -> Iterator[Record]:
    """An array streams; objects are read as JSON lines, else as one."""
    first = text.read(1)
    while first.isspace():
        first = text.read(1)
    if first != "[":
        yield from _read_json_objects(name, first, text, report)
        return
    number = 0
    try:
        for number, value in enumerate(ijson.items(_Utf8(first, text), "item", use_float=True), start=1):
            yield from _json_record(name, number, value, report)
    except (ijson.JSONError, ValueError, RecursionError) as exc:
        report(name, number + 1, f"broken JSON after record {number}: {_one_line(exc)}")


def _read_json_objects(name: str, first: str, text: io.TextIOWrapper, report: Report) -> Iterator[Record]:
    line = first + text.readline(MAX_LINE_CHARS)
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        try:
            value = json.loads(line + text.read(MAX_LINE_CHARS))
        except (ValueError, RecursionError) as exc:
            report(name, 1, f"broken JSON: {_one_line(exc)}")
            return
        values = value if isinstance(value, list) else [value]
        for number, item in enumerate(values, start=1):
            yield from _json_record(name, number, item, report)
        return
    yield from _json_record(name, 1, value, report)
    for record in _read_lines(name, text, lambda file, number, problem: report(file, number + 1, problem)):
        yield Record(record.file, record.line + 1, record.value)


def _json_record(name: str, number: int, value: Any, report: Report) -> Iterator[Record]:
    if isinstance(value, dict | str):
        yield Record(name, number, value)
    else:
        report(name, number, f"{type(value).__name__} is no record")


def _read_csv(name: str, text: io.TextIOWrapper, report: Report, *, delimiter: str | None = None) -> Iterator[Record]:
    csv.field_size_limit(MAX_LINE_CHARS)
    first = text.readline(MAX_LINE_CHARS)
    delimiter = delimiter or max(",;\t|", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter))
    rows = csv.reader(text, delimiter=delimiter)
    has_header = bool({column.strip().lower() for column in header} & KNOWN_COLUMNS)
    if not has_header:
        yield Record(name, 1, {"text": "\n".join(header)})
    try:
        for row in rows:
            value: dict[str, Any] = (
                {column.strip().lower(): cell for column, cell in zip(header, row, strict=False)}
                if has_header
                else {"text": "\n".join(row)}
            )
            yield Record(name, rows.line_num + 1, value)
    except csv.Error as exc:
        report(name, rows.line_num + 1, f"broken table: {exc}")


KNOWN_COLUMNS = {"text", "content", "instruction", "prompt", "question", "en", "zh", "messages", "chosen", "title"}


def _read_tsv(name: str, text: io.TextIOWrapper, report: Report) -> Iterator[Record]:
    return _read_csv(name, text, report, delimiter="\t")


def _read_parquet(name: str, stream: IO[bytes], report: Report) -> Iterator[Record]:
    try:
        if not stream.seekable() or "/" in name:
            content = stream.read(MAX_PARQUET_IN_ARCHIVE_BYTES + 1)
            if len(content) > MAX_PARQUET_IN_ARCHIVE_BYTES:
                report(name, 0, "a Parquet file over 1 GiB inside an archive: unpack it first")
                return
            stream = io.BytesIO(content)
        number = 0
        with pyarrow.parquet.ParquetFile(stream) as file:
            for batch in file.iter_batches(batch_size=256):
                for value in batch.to_pylist():
                    number += 1
                    yield Record(name, number, value)
    except (pyarrow.ArrowException, OSError) as exc:
        report(name, 0, f"broken Parquet: {_one_line(exc)}")


def _one_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


_READERS: dict[str, Callable[[str, io.TextIOWrapper, Report], Iterator[Record]]] = {
    "text": _read_text,
    "lines": _read_lines,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
}


class _Counted(io.RawIOBase):
    """Tells how many bytes were read."""

    def __init__(self, raw: IO[bytes], advance: Callable[[int], None]) -> None:
        self._raw, self._advance = raw, advance

    def read(self, size: int = -1) -> bytes:
        content = self._raw.read(size)
        self._advance(len(content))
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()


class _Bounded(io.RawIOBase):
    """Ends a stream that unpacks to more than its limit."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream, self._limit, self._left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise _UnpacksTooMuch(f"it unpacks to more than {self._limit:,} bytes")
        return content

    def readable(self) -> bool:
        return True


class _Raw(io.RawIOBase):
    """A raw stream over anything that reads bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readable(self) -> bool:
        return True


class _Utf8:
    """Text as the UTF-8 bytes that ijson reads, with its first character put back."""

    def __init__(self, first: str, text: io.TextIOWrapper) -> None:
        self._first, self._text = first, text

    def read(self, size: int) -> bytes:
        if not size:
            return b""
        content, self._first = self._first + self._text.read(max(size // 4, 1)), ""
        return content.encode("utf-8", "replace")
