"""PPTX → the text of each slide, which is a page; its title is a heading, its notes follow."""

import io
from collections.abc import Iterator
from typing import Any

import pptx
import pptx.exc
from pptx.util import Length

from rag.documents import Page, ParsedDocument
from rag.parsing.kinds import Source
from rag.parsing.text_builder import TextBuilder
from rag.remarks import RefusedError

CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
MAX_GROUP_DEPTH = 20


def read(source: Source, kind: str) -> ParsedDocument:
    """The text of a PPTX. Raises: DocumentError; whatever python-pptx raises for a broken file."""
    try:
        presentation = pptx.Presentation(io.BytesIO(source.content))
    except (KeyError, pptx.exc.PackageNotFoundError) as exc:
        raise RefusedError("damaged_pptx", reason=str(exc)) from exc
    builder = TextBuilder(source.limits.num_characters)
    width, height = (Length(side or 0).pt for side in (presentation.slide_width, presentation.slide_height))
    for number, slide in enumerate(presentation.slides, 1):
        before = builder.length
        _add_slide(builder, slide)
        start = min(before + 2, builder.length) if before else 0
        builder.pages.append(Page(number, start, builder.length, width, height))
    return builder.build(kind, presentation.core_properties.title or source.stem)


def _add_slide(builder: TextBuilder, slide: Any) -> None:
    title = slide.shapes.title
    if title is not None:
        builder.heading(title.text_frame.text, 1)
    for shape in _in_reading_order(slide.shapes, 0):
        if title is None or shape.shape_id != title.shape_id:
            _add_shape(builder, shape)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        builder.paragraph(slide.notes_slide.notes_text_frame.text)


def _in_reading_order(shapes: Any, depth: int) -> Iterator[Any]:
    """Shapes from top to bottom, then from left to right; groups opened."""
    for shape in sorted(shapes, key=lambda shape: (shape.top or 0, shape.left or 0)):
        if hasattr(shape, "shapes") and depth < MAX_GROUP_DEPTH:
            yield from _in_reading_order(shape.shapes, depth + 1)
        else:
            yield shape


def _add_shape(builder: TextBuilder, shape: Any) -> None:
    if shape.has_text_frame:
        builder.paragraph(
            "\n".join(paragraph.text for paragraph in shape.text_frame.paragraphs if paragraph.text.strip())
        )
    elif getattr(shape, "has_table", False):
        for row in shape.table.rows:
            builder.row(cell.text for cell in row.cells)
        builder.end_table()
    elif getattr(shape, "has_chart", False):
        _add_chart(builder, shape.chart)


def _add_chart(builder: TextBuilder, chart: Any) -> None:
    """Its title and its numbers, as a table; from the XML, since python-pptx knows no charts in three dimensions."""
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.paragraph(chart.chart_title.text_frame.text)
    categories: list[str] = []
    for series in chart.element.iter(f"{CHART}ser"):
        name, labels, values = (_points(series, tag) for tag in ("tx", "cat", "val"))
        if labels and labels != categories:
            categories = labels
            builder.row(["", *labels])
        builder.row([" ".join(name), *values])
    builder.end_table()


def _points(series: Any, tag: str) -> list[str]:
    part = series.find(f"{CHART}{tag}")
    return [] if part is None else [value.text or "" for value in part.iter(f"{CHART}v")]
