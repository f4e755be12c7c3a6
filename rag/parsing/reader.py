"""A file in memory → its text, in the child process. What reads a kind is imported with the first such file."""

from importlib import import_module

from rag.documents import ParsedDocument
from rag.parsing.kinds import Source, kind_of
from rag.remarks import RefusedError

READERS = {
    "pdf": "rag.parsing.pdf",
    "image": "rag.parsing.pictures",
    "docx": "rag.parsing.docx_file",
    "pptx": "rag.parsing.pptx_file",
    **dict.fromkeys(("xlsx", "xls", "csv"), "rag.parsing.tables"),
    **dict.fromkeys(("odt", "odp", "ods"), "rag.parsing.open_document"),
    **dict.fromkeys(("html", "epub", "xml"), "rag.parsing.markup"),
    **dict.fromkeys(("eml", "msg", "rtf"), "rag.parsing.mail"),
    **dict.fromkeys(("md", "txt", "rst", "org", "code"), "rag.parsing.plain"),
    **dict.fromkeys(("json", "srt", "vtt"), "rag.parsing.records"),
}
"""Module of each kind; its `read(source, kind)` gives the document."""


def read_document(source: Source) -> ParsedDocument:
    """The text of a file. Raises: DocumentError; whatever a library raises for a broken file."""
    kind = kind_of(source)
    document: ParsedDocument = import_module(READERS[kind]).read(source, kind)
    if not document.text.strip():
        raise RefusedError("no_text")
    return document
