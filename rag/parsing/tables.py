"""Spreadsheets and CSV → rows of text, the cells apart by ` | `. A sheet's name is a heading."""

import csv
import datetime as dt
import io
import mimetypes
from collections.abc import Iterable, Iterator
from typing import Any

from rag.documents import ParsedDocument
from rag.parsing.encodings import decode
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder, clean
from rag.remarks import RefusedError

DELIMITERS = ",;\t|"
SNIFFED_LINES = 50
MAX_COLUMNS = 1000
MAX_CELL_CHARACTERS = 2**20
MAX_EMPTY_ROWS = 20_000  # in a row; sheets that claim a million rows have no more after these


def read(source: Source, kind: str) -> ParsedDocument:
    """The rows of a table. Raises: DocumentError."""
    builder = TextBuilder(source.limits.num_characters)
    if kind == "csv":
        text, note = decode(source.content)
        builder.notes += [note] if note else []
        _add_rows(builder, _csv_rows(clean(text)))
    else:
        for name, rows in _xlsx_sheets(source) if kind == "xlsx" else _xls_sheets(source):
            builder.heading(name, 1)
            _add_rows(builder, rows)
    return builder.build(kind, source.stem)


def _add_rows(builder: TextBuilder, rows: Iterable[Iterable[str]]) -> None:
    before, num_empty = builder.length, 0
    for row in rows:
        builder.row(row)
        num_empty = num_empty + 1 if builder.length == before else 0
        before = builder.length
        if num_empty > MAX_EMPTY_ROWS:
            break
    builder.end_table()


def _csv_rows(text: str) -> Iterator[list[str]]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        yield from csv.reader(io.StringIO(text), delimiter=_delimiter(text))
    except csv.Error as exc:
        raise RefusedError("damaged_table", reason=str(exc)) from exc


def _delimiter(text: str) -> str:
    """The one that divides the first lines into the most columns, alike."""
    head = text.split("\n", SNIFFED_LINES)[:SNIFFED_LINES]
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            counts = [len(row) for row in csv.reader(head, delimiter=delimiter) if row]
        except csv.Error:
            continue
        usual = max(set(counts), key=counts.count, default=1)
        score = counts.count(usual) / max(len(counts), 1) * (usual - 1) / usual
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _xlsx_sheets(source: Source) -> Iterator[tuple[str, Iterator[list[str]]]]:
    mimetypes.knownfiles.clear()  # openpyxl asks for types, and the system's files may not be opened here
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(source.content), read_only=True, data_only=True, keep_links=False)
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # the size that the file claims can be a million rows
        rows = sheet.iter_rows(values_only=True)
        yield sheet.title, ([_words(value) for value in row[:MAX_COLUMNS]] for row in rows)


def _xls_sheets(source: Source) -> Iterator[tuple[str, Iterator[list[str]]]]:
    import xlrd

    try:
        book = xlrd.open_workbook(file_contents=source.content, logfile=io.StringIO(), on_demand=True)
        sheets = book.sheets()
    except (xlrd.XLRDError, AssertionError) as exc:  # it asserts what a damaged file does not hold to
        raise RefusedError("damaged_xls", reason=str(exc)) from exc
    for sheet in sheets:
        yield (
            sheet.name,
            ([_old_words(cell, book.datemode) for cell in sheet.row(i)[:MAX_COLUMNS]] for i in range(sheet.nrows)),
        )


def _old_words(cell: Any, date_mode: int) -> str:
    import xlrd

    if cell.ctype == xlrd.XL_CELL_DATE:
        try:
            return _words(xlrd.xldate.xldate_as_datetime(cell.value, date_mode))
        except (ValueError, OverflowError):
            return str(cell.value)
    if cell.ctype == xlrd.XL_CELL_BOOLEAN:
        return str(bool(cell.value))
    return "" if cell.ctype == xlrd.XL_CELL_ERROR else _words(cell.value)


def _words(value: Any) -> str:
    """A cell as it would be read aloud: no 3.0 for 3, no midnight for a day."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    return str(value)
