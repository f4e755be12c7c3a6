"""What the library knows of a document: its text, and where on its pages the text stands. Plain data.

Made by `rag.parsing` and cut by `rag.chunking`; every offset counts characters of `ParsedDocument.text`.
"""

from dataclasses import dataclass

from rag.remarks import Remark


@dataclass(frozen=True, slots=True)
class Box:
    """On a page, in points from its upper left corner, as displayed: rotated and cropped."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Line:
    """Characters [start, end) of the text stand here."""

    start: int
    end: int
    page: int
    box: Box


@dataclass(frozen=True, slots=True)
class Page:
    """Characters [start, end) are a page or a slide; number counts from 1, width and height are in points."""

    number: int
    start: int
    end: int
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Heading:
    """Characters [start, end) are a title of level 1…6."""

    start: int
    end: int
    level: int


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A file as text. Files without pages (md, txt, code …) have no pages; only PDF and pictures have lines.

    Paragraphs stand apart by an empty line, the rows of a table by a line break and their cells by ` | `. Notes are
    for the user, as "image only: 12 of 14 pages".
    """

    kind: str
    title: str
    text: str
    pages: tuple[Page, ...] = ()
    lines: tuple[Line, ...] = ()
    headings: tuple[Heading, ...] = ()
    notes: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Characters [start, end) as one passage; `page` is where it starts, `headings` the path of titles above it."""

    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]
