"""Gathers the text of a document and the offsets of what stands in it."""

import re
from collections.abc import Iterable

from rag.chunking import CELL
from rag.documents import Heading, Line, Page, ParsedDocument
from rag.remarks import RefusedError, Remark

# Control characters, halves of surrogate pairs, and marks that show nothing and split words for a search.
UNWANTED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff]"
)
SURROGATE = re.compile(r"[\ud800-\udfff]")
MAX_TITLE_LENGTH = 200


class TextBuilder:
    """Paragraphs, rows and headings in reading order; empty ones leave no trace."""

    def __init__(self, max_characters: int) -> None:
        self.length = 0
        self.notes: list[Remark] = []
        self.pages: list[Page] = []
        self.lines: list[Line] = []
        self._max = max_characters
        self._parts: list[str] = []
        self._headings: list[Heading] = []
        self._ends_with_row = False

    def paragraph(self, text: str) -> tuple[int, int]:
        """Add a paragraph, an empty line before it. Line breaks inside it stay."""
        return self._add(tidy(text), "\n\n")

    def heading(self, text: str, level: int) -> tuple[int, int]:
        """Add a title on a line of its own; level 1…6."""
        start, end = self._add(" ".join(tidy(text).split()), "\n\n")
        if end > start:
            self._headings.append(Heading(start, end, min(max(level, 1), 6)))
        return start, end

    def row(self, cells: Iterable[str]) -> None:
        """Add a row of a table; one whose cells are all empty is left out."""
        texts = [" ".join(tidy(cell).split()) for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if any(texts):
            self._add(CELL.join(texts).strip(), "\n" if self._ends_with_row else "\n\n")
            self._ends_with_row = True

    def end_table(self) -> None:
        """The next row belongs to another table."""
        self._ends_with_row = False

    def verbatim(self, text: str) -> None:
        """Add text as it is: what counts offsets in it may count them here."""
        self._parts.append(text)
        self._count(len(text))

    def mark_heading(self, start: int, end: int, level: int) -> None:
        """Characters [start, end), which are here already, are a title."""
        self._headings.append(Heading(start, end, min(max(level, 1), 6)))

    def build(self, kind: str, title: str) -> ParsedDocument:
        """The document."""
        title = " ".join(tidy(title).split())[:MAX_TITLE_LENGTH]
        return ParsedDocument(
            kind,
            title,
            "".join(self._parts),
            tuple(self.pages),
            tuple(self.lines),
            tuple(self._headings),
            tuple(self.notes),
        )

    def _add(self, text: str, separator: str) -> tuple[int, int]:
        if not text:
            return self.length, self.length
        if self._parts:
            self._parts.append(separator)
            self.length += len(separator)
        start = self.length
        self._parts.append(text)
        self._count(len(text))
        self._ends_with_row = False
        return start, self.length

    def _count(self, num_characters: int) -> None:
        self.length += num_characters
        if self.length > self._max:
            raise RefusedError("too_much_text", most=self._max)


def clean(text: str) -> str:
    """Text without what no reader sees; line and page breaks are `\\n`."""
    if text.isprintable():
        return text
    for line_break in ("\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"):
        text = text.replace(line_break, "\n")
    return SURROGATE.sub("\ufffd", UNWANTED.sub("", text))


def tidy(text: str) -> str:
    """Clean text without white space around it."""
    return clean(text).strip()
