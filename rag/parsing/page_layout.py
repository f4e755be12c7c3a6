"""Lines of a page → paragraphs and headings, so that a sentence which runs over lines is one again."""

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from rag.documents import Box, Line
from rag.parsing.boxes import around
from rag.parsing.text_builder import TextBuilder

HEADING_RATIO = 1.15  # of the size most of the text has
MAX_HEADING_LENGTH = 120
MAX_HEADING_SHARE = 0.25  # of all characters; where more is large, size says nothing
MAX_LINE_STEP = 2.0  # from line to line of a paragraph, in line heights
MAX_HANGING_INDENT = 3.5  # of the lines of a list item, in line heights
MIN_SPACE = 0.15  # between words, in line heights
MAX_LINES_COMPARED = 400  # of a page, for the width of its columns
WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef\u3000-\u303f]")
BULLET = re.compile(r"(?:[-–•·▪◦●○■□◆✓*]|[\(（]?(?:\d{1,3}|[a-zA-Z]|[一二三四五六七八九十]{1,3})[.)）、．])\s?|\[\d+\]")
LEADER = re.compile(r"(?:\s*[.．·…]){4,}\s*")
HYPHENS = ("\x02", "\ufffe", "\u00ad")  # what PDFium gives for a hyphen at the end of a line


@dataclass(slots=True)
class PageLine:
    """A line as it was found, and its box as displayed."""

    text: str
    box: Box
    size: float = 0.0  # of the font, in points; 0 when unknown
    level: int | None = None  # of a heading
    pieces: list[tuple[int, int, Box]] = field(default_factory=list)  # of the text, where one box does not do
    is_hyphenated: bool = False

    @property
    def height(self) -> float:
        """From top to bottom; never 0."""
        return max(self.box.bottom - self.box.top, 0.1)


def mark_headings_by_size(pages: Sequence[Sequence[PageLine]]) -> None:
    """Give a level to lines in fonts larger than most of the text; the largest is level 1."""
    sizes: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            sizes[_rounded(line.size)] += len(line.text)
    sizes.pop(0.0, None)
    if not sizes:
        return
    body = max(sizes, key=sizes.__getitem__)
    large = [line for lines in pages for line in lines if _rounded(line.size) >= body * HEADING_RATIO]
    large = [line for line in large if len(line.text) <= MAX_HEADING_LENGTH and any(map(str.isalpha, line.text))]
    if sum(len(line.text) for line in large) > MAX_HEADING_SHARE * sizes.total():
        return
    levels = {size: i + 1 for i, size in enumerate(sorted({_rounded(line.size) for line in large}, reverse=True))}
    for line in large:
        line.level = min(levels[_rounded(line.size)], 6)


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def joined_in_row(lines: list[PageLine]) -> list[PageLine]:
    """Lines with what stands beside them at the same height, such as a raised 2 and the cells of a row, as one."""
    result: list[PageLine] = []
    for line in lines:
        last = result[-1] if result else None
        if last is not None and _is_beside(last, line):
            result[-1] = _in_row(last, line)
        else:
            result.append(line)
    return result


def _in_row(line: PageLine, following: PageLine) -> PageLine:
    glue = " " if following.box.left - line.box.right > MIN_SPACE * line.height else ""
    shift = len(line.text) + len(glue)
    return PageLine(
        f"{line.text}{glue}{following.text}",
        around(line.box, following.box),
        max(line, following, key=lambda one: len(one.text)).size,
        None,
        line.pieces + [(start + shift, end + shift, box) for start, end, box in following.pieces],
        following.is_hyphenated,
    )


def _is_beside(line: PageLine, following: PageLine) -> bool:
    overlap = min(line.box.bottom, following.box.bottom) - max(line.box.top, following.box.top)
    if overlap < 0.5 * min(line.height, following.height) or line.is_hyphenated:
        return False
    gap = following.box.left - line.box.right
    return -0.5 * line.height <= gap <= 3 * max(line.height, following.height)


def add_page(builder: TextBuilder, number: int, lines: Sequence[PageLine]) -> None:
    """Put the lines of a page into the text as paragraphs and headings, and note where each line stands."""
    for block in _blocks(lines):
        text, starts = _joined(block)
        is_heading = block[0].level is not None
        start, end = builder.heading(text, block[0].level or 1) if is_heading else builder.paragraph(text)
        assert end - start == len(text)
        for line, offset in zip(block, starts, strict=True):
            length = min(len(line.text), len(text) - offset)
            for piece_start, piece_end, box in line.pieces or [(0, length, line.box)]:
                if piece_start < length:
                    first, last = start + offset + piece_start, start + offset + min(piece_end, length)
                    builder.lines.append(Line(first, last, number, box))


def _blocks(lines: Sequence[PageLine]) -> Iterator[list[PageLine]]:
    rights = _column_rights(lines)
    block: list[PageLine] = []
    for i, line in enumerate(lines):
        if block and not _continues(block, line, rights[i - 1]):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _column_rights(lines: Sequence[PageLine]) -> list[float]:
    """How far to the right the lines around each one reach: nine in ten of those that begin where it does."""
    if not lines or len(lines) > MAX_LINES_COMPARED:
        return [line.box.right for line in lines]
    height = statistics.median(line.height for line in lines)
    reaches: dict[int, float] = {}
    for line in lines:
        place = round(line.box.left / height)
        if place not in reaches:
            near = sorted(other.box.right for other in lines if abs(other.box.left - line.box.left) <= 3 * height)
            reaches[place] = near[len(near) * 9 // 10]
    return [reaches[round(line.box.left / height)] for line in lines]


def _continues(block: list[PageLine], line: PageLine, column_right: float) -> bool:
    """Whether a line goes on with the paragraph of the lines before it."""
    last = block[-1]
    if last.level != line.level or (line.size and abs(last.size - line.size) > 0.15 * last.size):
        return False
    step = line.box.top - last.box.top
    if not 0 < step <= MAX_LINE_STEP * max(last.height, line.height):
        return False
    if line.level is not None:
        return True
    if last.is_hyphenated:
        return True
    hanging = MAX_HANGING_INDENT * line.height if BULLET.match(block[0].text) else 0.8 * line.height
    is_indented = line.box.left > (last.box.left if len(block) > 1 else block[0].box.left + hanging) + 0.8 * line.height
    return _is_full(last, line.text, column_right) and not is_indented and not BULLET.match(line.text)


def _is_full(line: PageLine, following: str, column_right: float) -> bool:
    """Whether the first word of the following line would not have fitted behind this one."""
    character = (line.box.right - line.box.left) / len(line.text)
    word = following.split(maxsplit=1)[0]
    num_characters = 2 if WIDE.match(word) else len(word) + 1
    return line.box.right + num_characters * character + 0.5 * line.height >= column_right


def _joined(block: Sequence[PageLine]) -> tuple[str, list[int]]:
    """The text of a paragraph, and where each of its lines begins in it."""
    text, starts = block[0].text, [0]
    for last, line in pairwise(block):
        if last.is_hyphenated and line.text[0].islower():
            glue = ""
        elif last.is_hyphenated:
            text, glue = text + "-", ""
        else:
            glue = "" if WIDE.match(text[-1]) and WIDE.match(line.text[0]) else " "
        text += glue
        starts.append(len(text))
        text += line.text
    if block[-1].is_hyphenated:
        text += "-"
    return text, starts
