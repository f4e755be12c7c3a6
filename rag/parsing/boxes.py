"""Where a passage stands on its pages."""

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

from rag.documents import Box, Line

SAME_ROW = 0.6  # of the height of the lower of two boxes must they share


def passage_boxes(lines: Sequence[Line], start: int, end: int, text: str = "") -> list[tuple[int, Box]]:
    """Page and box of every piece of a line that characters [start, end) cover; lines in the order of the text.

    Of a line that is covered in part the box is cut by the share of its width: with the document's `text`, in which a
    Chinese character counts for two letters and Arabic runs from the right; without it each counts the same.
    """
    first = bisect_left(lines, True, key=lambda line: line.end > start)
    boxes: list[tuple[int, Box]] = []
    for line in lines[first:]:
        if line.start >= end:
            break
        box = _part(line, max(start, line.start), min(end, line.end), text)
        if boxes and boxes[-1][0] == line.page and _is_beside(boxes[-1][1], box):
            box = around(boxes.pop()[1], box)
        boxes.append((line.page, box))
    return boxes


def around(one: Box, other: Box) -> Box:
    """The smallest box that holds both."""
    return Box(
        min(one.left, other.left), min(one.top, other.top), max(one.right, other.right), max(one.bottom, other.bottom)
    )


def _is_beside(box: Box, other: Box) -> bool:
    """Whether two boxes are words of one row, or of one column where text runs up or down."""
    width, height = (
        min(box.right - box.left, other.right - other.left),
        min(box.bottom - box.top, other.bottom - other.top),
    )
    across = min(box.right, other.right) - max(box.left, other.left)
    along = min(box.bottom, other.bottom) - max(box.top, other.top)
    is_row = along > SAME_ROW * height and -across < height
    is_column = across > SAME_ROW * width and -along < width and box.bottom - box.top > box.right - box.left
    return is_row or is_column


def _part(line: Line, start: int, end: int, text: str) -> Box:
    box = line.box
    is_upright = box.right - box.left >= box.bottom - box.top
    if (start, end) == (line.start, line.end) or not is_upright:
        return box
    words = text[line.start : line.end] or " " * (line.end - line.start)
    widths = [_width(character) for character in words]
    total = sum(widths) or 1.0
    before = sum(widths[: start - line.start]) / total
    until = sum(widths[: end - line.start]) / total
    if sum(unicodedata.bidirectional(character) in {"R", "AL"} for character in words) * 2 > len(words):
        before, until = 1 - until, 1 - before
    width = box.right - box.left
    return Box(box.left + before * width, box.top, box.left + until * width, box.bottom)


def _width(character: str) -> float:
    """About how wide a character is, in halves of the font's size."""
    if unicodedata.east_asian_width(character) in {"W", "F"}:
        return 2.0
    if character in "iljtfrI.,;:'|!()[] ":
        return 0.6
    return 1.4 if character.isupper() or character in "mw" else 1.0
