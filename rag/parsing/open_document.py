"""OpenDocument text, slides and sheets → paragraphs, headings and rows."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import lxml.etree

from rag.documents import Page, ParsedDocument
from rag.parsing.kinds import Source
from rag.parsing.markup import xml_tree
from rag.parsing.text_builder import TextBuilder
from rag.remarks import RefusedError

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
PRESENTATION = "{urn:oasis:names:tc:opendocument:xmlns:presentation:1.0}"
SKIPPED = {f"{OFFICE}annotation", f"{TEXT}tracked-changes", f"{PRESENTATION}notes", f"{TEXT}note-citation"}
MAX_REPEATED = 50
SLIDE_SIZE = (720.0, 540.0)  # what it is drawn on says nothing here that a reader needs


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of an OpenDocument file. Raises: DocumentError."""
    with zipfile.ZipFile(io.BytesIO(source.content)) as archive:
        names = set(archive.namelist())
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise RefusedError("password")
        if "content.xml" not in names:
            raise RefusedError("no_content")
        body = xml_tree(archive.read("content.xml")).find(f"{OFFICE}body")
        title = xml_tree(archive.read("meta.xml")).findtext(".//{*}title") if "meta.xml" in names else None
    builder = TextBuilder(source.limits.num_characters)
    if body is not None:
        _add(builder, body)
    return builder.build(kind, title or source.stem)


def _add(builder: TextBuilder, body: Any) -> None:
    events = lxml.etree.iterwalk(body, events=("start", "end"))
    page_start = 0
    for event, element in events:
        if event == "end":
            if element.tag == f"{DRAW}page":
                start = min(page_start + 2, builder.length) if page_start else 0
                builder.pages.append(Page(len(builder.pages) + 1, start, builder.length, *SLIDE_SIZE))
        elif element.tag == f"{DRAW}page":
            page_start = builder.length
        elif element.tag in SKIPPED:
            events.skip_subtree()
        elif element.tag == f"{TEXT}h":
            builder.heading("".join(_words(element)), int(element.get(f"{TEXT}outline-level") or 1))
            events.skip_subtree()
        elif element.tag == f"{TEXT}p":
            _add_paragraph(builder, element)
            events.skip_subtree()
        elif element.tag == f"{TABLE}table":
            _add_table(builder, element)
            events.skip_subtree()


def _add_paragraph(builder: TextBuilder, element: Any) -> None:
    words = "".join(_words(element))
    frame = next(element.iterancestors(f"{DRAW}frame"), None)
    if frame is not None and frame.get(f"{PRESENTATION}class") == "title":
        builder.heading(words, 1)
    else:
        is_item = next(element.iterancestors(f"{TEXT}list-item"), None) is not None
        builder.paragraph(f"• {words}" if is_item and words.strip() else words)


def _add_table(builder: TextBuilder, table: Any) -> None:
    is_sheet = table.getparent().tag == f"{OFFICE}spreadsheet"
    if is_sheet:
        builder.heading(table.get(f"{TABLE}name") or "", 1)
    for row in table.iter(f"{TABLE}table-row"):
        builder.row(_cells(row))
    builder.end_table()


def _cells(row: Any) -> Iterator[str]:
    for cell in row.iterchildren(f"{TABLE}table-cell", f"{TABLE}covered-table-cell"):
        words = " ".join("".join(_words(paragraph)) for paragraph in cell.iter(f"{TEXT}p", f"{TEXT}h"))
        repeated = cell.get(f"{TABLE}number-columns-repeated") or "1"
        for _ in range(min(int(repeated), MAX_REPEATED)):
            yield words


def _words(element: Any) -> Iterator[str]:
    """Text of a paragraph; white space and line breaks are elements here."""
    events = lxml.etree.iterwalk(element, events=("start", "end"))
    for event, inner in events:
        if event == "end":
            if inner is not element:
                yield inner.tail or ""
        elif inner.tag in SKIPPED:
            events.skip_subtree()
        else:
            yield {f"{TEXT}s": " ", f"{TEXT}tab": "\t", f"{TEXT}line-break": "\n"}.get(inner.tag, "")
            yield inner.text or ""
