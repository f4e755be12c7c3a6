"""DOCX → paragraphs, headings, lists and tables, by python-docx and the document's own XML.

python-docx gives the styles; the text is taken from the XML itself, because the library passes over what stands in
content controls, inserted passages and text boxes.
"""

import io
from collections.abc import Iterator
from typing import Any

import docx
import docx.styles.style

from rag.documents import ParsedDocument
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder
from rag.remarks import RefusedError

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
MC_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
TEXT_BOX = f"{W}txbxContent"
DELETED = {f"{W}del", f"{W}moveFrom"}
SIGNS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}
MAX_STYLE_DEPTH = 10
MAX_TABLE_DEPTH = 20


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of a DOCX. Raises: DocumentError; whatever python-docx raises for a broken file."""
    try:
        document = docx.Document(io.BytesIO(source.content))
    except KeyError as exc:
        raise RefusedError("damaged_docx", reason=str(exc.args[0])) from exc
    builder = TextBuilder(source.limits.num_characters)
    body = document.element.body
    if body is not None:
        _Body(builder, {style.style_id: style for style in document.styles}).add(body, 0)
    for part in document.part.package.iter_parts():
        if part.partname.endswith(("/footnotes.xml", "/endnotes.xml")):
            _add_notes(builder, part.blob)
    return builder.build(kind, document.core_properties.title or source.stem)


def _level(style: Any) -> int | None:
    """The heading level of a style, its own or that of the style it is based on."""
    for _ in range(MAX_STYLE_DEPTH):
        name = (style.name or "").lower()
        if name == "title":
            return 1
        if name.startswith(("heading ", "标题 ")) and name[-1].isdigit():
            return int(name[-1])
        outline = style.element.find(f"{W}pPr/{W}outlineLvl")
        if outline is not None and (outline.get(f"{W}val") or "9").isdigit():
            level = int(outline.get(f"{W}val") or "9") + 1
            return level if level <= 6 else None
        style = getattr(style, "base_style", None)
        if style is None:
            break
    return None


class _Body:
    """Adds the blocks of a document in their order."""

    def __init__(self, builder: TextBuilder, styles: dict[str, Any]) -> None:
        self._builder, self._styles = builder, styles
        self._levels: dict[str, int | None] = {}

    def add(self, container: Any, depth: int) -> None:
        """Add the blocks of an element, through content controls and other wrappers."""
        for element in container:
            if element.tag == f"{W}p":
                self._add_paragraph(element, depth)
            elif element.tag == f"{W}tbl":
                self._add_table(element)
            elif element.tag not in DELETED and isinstance(element.tag, str) and depth < MAX_TABLE_DEPTH:
                self.add(element, depth + 1)

    def _add_paragraph(self, paragraph: Any, depth: int) -> None:
        words = "".join(_words(paragraph))
        style = paragraph.find(f"{W}pPr/{W}pStyle")
        level = self._level(style.get(f"{W}val") or "") if style is not None else None
        outline = paragraph.find(f"{W}pPr/{W}outlineLvl")
        if outline is not None and (outline.get(f"{W}val") or "").isdigit() and int(outline.get(f"{W}val")) < 6:
            level = int(outline.get(f"{W}val")) + 1
        if level is not None:
            self._builder.heading(words, level)
        else:
            is_item = paragraph.find(f"{W}pPr/{W}numPr") is not None
            self._builder.paragraph(f"• {words}" if is_item and words.strip() else words)
        if depth < MAX_TABLE_DEPTH:
            for box in _text_boxes(paragraph):
                self.add(box, depth + 1)

    def _level(self, style_id: str) -> int | None:
        if style_id not in self._levels:
            style = self._styles.get(style_id)
            self._levels[style_id] = _level(style) if style is not None else None
        return self._levels[style_id]

    def _add_table(self, table: Any) -> None:
        for row in table.iter(f"{W}tr"):
            if next(row.iterancestors(f"{W}tbl")) is table:
                self._builder.row(
                    _cell(cell) for cell in row.iter(f"{W}tc") if next(cell.iterancestors(f"{W}tr")) is row
                )
        self._builder.end_table()


def _cell(cell: Any) -> str:
    """The text of a cell, that of tables inside it too."""
    return " ".join("".join(_words(paragraph)) for paragraph in cell.iter(f"{W}p"))


def _text_boxes(paragraph: Any) -> Iterator[Any]:
    for box in paragraph.iter(TEXT_BOX):
        above = [element.tag for element in box.iterancestors()]
        if MC_FALLBACK not in above and TEXT_BOX not in above:  # the fallback says the same once more
            yield box


def _words(paragraph: Any) -> Iterator[str]:
    """Text of a paragraph without what was deleted and what stands in boxes."""
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag in {f"{W}t", MATH_TEXT}:
            yield element.text or ""
        elif element.tag in SIGNS:
            yield SIGNS[element.tag]
        elif element.tag not in DELETED and element.tag not in {TEXT_BOX, MC_FALLBACK, f"{W}pPr"}:
            stack.append(iter(element))


def _add_notes(builder: TextBuilder, content: bytes) -> None:
    from rag.parsing.markup import xml_tree

    for note in xml_tree(content):
        for paragraph in note.iter(f"{W}p"):
            builder.paragraph("".join(_words(paragraph)))
