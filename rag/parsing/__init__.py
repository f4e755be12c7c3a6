"""Files of many kinds → text with headings, pages and boxes. Documents are hostile: a child process reads them."""

from collections.abc import Sequence
from pathlib import Path

from core.errors import DocumentError
from rag.documents import Box, ParsedDocument
from rag.parsing.boxes import passage_boxes
from rag.parsing.kinds import SUPPORTED_SUFFIXES, is_supported
from rag.parsing.limits import Limits
from rag.parsing.sandbox import Parser

__all__ = [
    "SUPPORTED_SUFFIXES",
    "DocumentError",
    "Limits",
    "Parser",
    "is_supported",
    "parse",
    "passage_boxes",
    "render_page",
]


def parse(path: Path, *, limits: Limits | None = None) -> ParsedDocument:
    """The text of one file, in a process of its own; for many files a `Parser` starts one for all.

    Raises: DocumentError, one true sentence and what to do.
    """
    with Parser(limits) as parser:
        return parser.parse(path)


def render_page(path: Path, page: int, boxes: Sequence[Box], *, scale: float = 2.0) -> bytes:
    """A page of a PDF, counted from 1, as PNG of `scale` pixels a point, with boxes marked. Raises: DocumentError."""
    with Parser() as parser:
        return parser.render_page(path, page, boxes, scale=scale)
