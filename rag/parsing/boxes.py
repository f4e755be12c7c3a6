"""Where a passage stands on its pages."""

import unicodedata
from bisect import bisect_left
from collections.abc import Sequence

from rag.documents import Box, Line


def passage_boxes(lines: Sequence[Line], start: int, end: int, text: str = "") -> list[tuple[int, Box]]:
    """Page and box of every piece of a line that characters [start, end) cover; lines in the order of the text.

    Of a line that is covered in part the box is cut by the share of its width: with the document's `text`, in which a
    Chinese character counts for two letters and Arabic runs from the right; without it each counts the same.
    """
    first = bisect_left(lines, True, key=lambda line: line.end > start)
    boxes = []
    for line in lines[first:]:
        if line.start >= end:
            break
        boxes.append((line.page, _part(line, max(start, line.start), min(end, line.end), text)))
    return boxes


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
