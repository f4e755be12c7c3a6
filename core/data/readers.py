"""Files to records: text, Markdown, JSON, JSON lines, CSV and Parquet, compressed or in archives.

Everything streams: a record is in memory, never a file. What cannot be read is reported with its file
and row and left out. `streams` gives the bytes, `formats` says what a record is.
"""

import csv
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing
from io import BytesIO, TextIOWrapper
from itertools import chain, islice
from typing import IO, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from core.data.json_reader import read_json, read_json_lines
from core.data.records import MAX_LINE_CHARS, Line, Record, Report, numbered_lines, one_line
from core.data.streams import (
    ARCHIVE_SUFFIXES,
    MAX_FREE_UNPACKED_BYTES,
    MAX_UNPACK_RATIO,
    Advance,
    InputFile,
    members,
    open_text,
)
from core.errors import DataError, Sentence

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst")
LINE_SUFFIXES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = {".csv": None, ".tsv": "\t"}
SUFFIXES = (*TEXT_SUFFIXES, *LINE_SUFFIXES, ".json", *TABLE_SUFFIXES, ".parquet")

# A text file is one document, cut after a paragraph when it grows beyond this.
DOCUMENT_CHARS = 1 << 18
MAX_PARQUET_IN_ARCHIVE_BYTES = 1 << 30
PARQUET_BATCH_ROWS = 64
KNOWN_COLUMNS = frozenset(
    ["text", "content", "instruction", "prompt", "question", "en", "zh", "messages", "conversations", "chosen", "title"]
)
_COLUMN_NAME = re.compile(r"[A-Za-z_][\w .-]{0,40}")

NOT_READ = Sentence("not a kind of file that is read")
# What the libraries raise for input that is broken, cut or encrypted.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    OverflowError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    pa.ArrowException,
)


def is_readable_name(name: str) -> bool:
    """Whether a file of this name is read at all."""
    lower = name.lower()
    return lower.endswith(ARCHIVE_SUFFIXES) or lower.removesuffix(".gz").endswith(SUFFIXES)


def read_file(file: InputFile, report: Report, advance: Advance) -> Generator[Record, None, None]:
    """Records of one file.

    `report(file, row, problem)` is told of all that is left out (row 0 is the whole file),
    `advance(bytes)` of the bytes read from disk.
    """
    try:
        with closing(members(file, advance)) as parts:
            for name, stream in parts:
                try:
                    yield from _read_member(name, stream, report)
                except _BROKEN as exc:
                    report(name, 0, _stopped(exc))
    except DataError as exc:  # it unpacks to too much
        report(file.name, 0, Sentence("reading stopped: {reason}", reason=exc.whole))
    except _BROKEN as exc:
        report(file.name, 0, _stopped(exc))


def _stopped(exc: Exception) -> Sentence:
    return Sentence("reading stopped: {reason}", reason=one_line(exc))


def _read_member(name: str, stream: IO[bytes], report: Report) -> Iterator[Record]:
    lower = name.lower().removesuffix(".gz")
    if lower.endswith(ARCHIVE_SUFFIXES) or not lower.endswith(SUFFIXES):
        report(name, 0, NOT_READ)
        return
    if lower.endswith(".parquet"):
        yield from _read_parquet(name, stream, report)
        return
    text = open_text(stream)
    if isinstance(text, str):
        report(name, 0, text)
        return
    with text:
        if lower.endswith(LINE_SUFFIXES):
            yield from read_json_lines(name, numbered_lines(text), report)
        elif lower.endswith(".json"):
            yield from read_json(name, text, report)
        elif lower.endswith(tuple(TABLE_SUFFIXES)):
            yield from _read_table(name, text, report, TABLE_SUFFIXES[lower[-4:]])
        else:
            yield from _read_text(name, text, report, is_plain=lower.endswith((".txt", ".text")))


# Text


def _read_text(name: str, text: TextIOWrapper, report: Report, *, is_plain: bool) -> Iterator[Record]:
    """WikiExtractor or WikiText articles, a document per line, or the file as one document."""
    lines = numbered_lines(text)
    start = _look_ahead(lines)
    rest = chain(start, lines)
    first = next((line for _, line in start if line.strip()), "")
    if first.startswith("<doc "):
        yield from _wiki_extractor(name, rest, report)
    elif is_plain and _WIKITEXT_TITLE.fullmatch(first.rstrip("\n")):
        yield from _wiki_text(name, rest)
    elif is_plain and _is_document_per_line(start):
        yield from (Record(name, number, line.strip()) for number, line in rest if line.strip())
    else:
        yield from _whole_documents(name, rest)


def _look_ahead(lines: Iterator[Line]) -> list[Line]:
    """The lines of the first document's worth of characters."""
    start: list[Line] = []
    size = 0
    for number, line in lines:
        start.append((number, line))
        size += len(line)
        if size >= DOCUMENT_CHARS:
            break
    return start


def _is_document_per_line(start: list[Line]) -> bool:
    """Long lines, hardly a blank one, and more than fits one document: a corpus with a document on each line.

    A short file with long lines is one document with a paragraph on each.
    """
    filled = [line for _, line in start if line.strip()]
    size = sum(map(len, filled))
    if size < DOCUMENT_CHARS or len(filled) < 2 or len(filled) < 0.9 * len(start):
        return False
    return size / len(filled) > 150


def _whole_documents(name: str, lines: Iterator[Line]) -> Iterator[Record]:
    held: list[str] = []
    size, first = 0, 1
    for number, line in lines:
        if not held:
            first = number
        held.append(line)
        size += len(line)
        if size >= DOCUMENT_CHARS and (not line.strip() or size >= 2 * DOCUMENT_CHARS):
            yield from _document(name, first, held)
            held, size = [], 0
    yield from _document(name, first, held)


def _document(name: str, row: int, lines: list[str]) -> Iterator[Record]:
    text = "".join(lines).strip()
    if text:
        yield Record(name, row, text)


_WIKITEXT_TITLE = re.compile(r" ?= [^=].* = ?")
_TAG = re.compile(r"</?[a-z][^>]{0,80}>")
_VARIANT = re.compile(r"-\{([^{}]{0,200})\}-")
_SIMPLIFIED = re.compile(r"zh-(?:hans|cn):([^;]*)")


def _wiki_text(name: str, lines: Iterator[Line]) -> Iterator[Record]:
    """WikiText: an article begins with ` = Title = `."""
    held: list[str] = []
    first = 1
    for number, line in lines:
        if held and _WIKITEXT_TITLE.fullmatch(line.rstrip("\n")):
            yield from _document(name, first, held)
            held = []
        if not held:
            first = number
        held.append(line)
    yield from _document(name, first, held)


def _wiki_extractor(name: str, lines: Iterator[Line], report: Report) -> Iterator[Record]:
    """WikiExtractor: `<doc …>`, the title, the text, `</doc>`. A title alone is a redirect."""
    held: list[str] = []
    first = 1
    for number, line in chain(lines, [(0, "</doc>")]):
        if line.startswith("<doc "):
            held, first = [], number
        elif line.startswith("</doc>"):
            text = "".join(held).strip()
            if "\n" in text:
                yield Record(name, first, text)
            elif text:
                report(name, first, Sentence("the article is only a title"))
            held = []
        else:
            held.append(_VARIANT.sub(_simplified, _TAG.sub("", line)))


def _simplified(match: re.Match[str]) -> str:
    """`-{zh-hans:计算机; zh-hant:電腦}-` -> 计算机; `-{text}-` -> text."""
    chosen = _SIMPLIFIED.search(match[1])
    if chosen:
        return chosen[1].strip()
    return "" if ":" in match[1] else match[1]


# Tables


def _read_table(name: str, text: TextIOWrapper, report: Report, delimiter: str | None) -> Iterator[Record]:
    lines = numbered_lines(text)
    start = list(islice((line for _, line in lines if line.strip()), 1))
    if not start:
        return
    delimiter = delimiter or max(",;\t|", key=start[0].count)
    csv.field_size_limit(MAX_LINE_CHARS)
    is_quoted = f'"{delimiter}' in start[0] or start[0].startswith('"')
    header = next(csv.reader(start, delimiter=delimiter))
    has_header = _is_header(header)
    # Parallel text without a header line is written without quotes: a lone " would eat the lines after it.
    is_plain = not (has_header or is_quoted or delimiter == ",")
    content = (line for _, line in lines)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if is_plain else csv.QUOTE_MINIMAL
    rows = csv.reader(content if has_header else chain(start, content), delimiter=delimiter, quoting=quoting)
    row = 0
    try:
        for row, cells in enumerate(rows, start=1 + has_header):
            if has_header:
                names = (column.strip().lower() for column in header)
                yield Record(name, row, dict(zip(names, cells, strict=False)))
            elif any(cell.strip() for cell in cells):
                yield Record(name, row, "\n".join(cells))
    except csv.Error as exc:
        report(name, row + 1, Sentence("broken table: {reason}", reason=str(exc)))


def _is_header(cells: list[str]) -> bool:
    """Known names, or words that look like names and differ from each other."""
    names = [cell.strip().lower() for cell in cells]
    if KNOWN_COLUMNS.intersection(names):
        return True
    return len(names) > 1 and len(set(names)) == len(names) and all(_COLUMN_NAME.fullmatch(name) for name in names)


def _read_parquet(name: str, stream: IO[bytes], report: Report) -> Iterator[Record]:
    """Rows by row group. A file inside an archive or a gzip cannot be sought in, so it is read whole."""
    if hasattr(stream, "seekable") and stream.seekable():
        source = stream
    else:
        content = stream.read(MAX_PARQUET_IN_ARCHIVE_BYTES + 1)
        if len(content) > MAX_PARQUET_IN_ARCHIVE_BYTES:
            most = MAX_PARQUET_IN_ARCHIVE_BYTES
            report(name, 0, Sentence("a Parquet file over {most:,} bytes in an archive: unpack it", most=most))
            return
        source = BytesIO(content)
    size = source.seek(0, 2)
    row = 0
    with pq.ParquetFile(source) as file:
        _check_parquet_size(name, file.metadata, size)
        for batch in file.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            for value in batch.to_pylist():
                row += 1
                yield Record(name, row, value)


def _check_parquet_size(name: str, metadata: Any, size: int) -> None:
    unpacked = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    limit = max(MAX_FREE_UNPACKED_BYTES, MAX_UNPACK_RATIO * size)
    if unpacked > limit:
        raise DataError(
            "{name} has {size:,} bytes and unpacks to {unpacked:,}, more than {limit:,}: it was refused.",
            "Write it again without compression if you trust it.",
            name=name,
            size=size,
            unpacked=unpacked,
            limit=limit,
        )
