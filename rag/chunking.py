"""Cuts a document into passages for the index: at headings, then paragraphs, then sentences.

A passage is `document.text[chunk.start:chunk.end]`, exactly. Passages follow each other, overlap by at most one
sentence and cover all text. A sentence is cut only where it alone is longer than a passage may be, and a row of a
table counts as one.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from rag.documents import Chunk, Heading, ParsedDocument

ROW_KINDS = ("csv", "xlsx", "xls", "ods", "code")
CELL = " | "
MIN_WRAPPED_COLUMNS = 40  # a shorter line was ended on purpose
TERMINAL = "。！？；.!?…:："
CLOSERS = "\"'”’」』）)】》]*_"
# A full stop ends a sentence before white space alone: 3.14 and example.com go on.
SENTENCE_END = re.compile(
    rf"(?:[。！？；…]|[.!?](?=[.!?{re.escape(CLOSERS)}]{{0,8}}(?:\s|$)))[。！？；….!?]*[{re.escape(CLOSERS)}]*"
)
ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Z]|e\.g|i\.e|cf|vs|etc|al|Mr|Mrs|Ms|Dr|Prof|St|Fig|Figs|Eq|Eqs|Sec|No|Vol|pp?|approx|ca|Inc|Ltd)\.$"
)
LIST_ITEM = re.compile(r"[ \t]*(?:[-*+•·▪>|#=~]|\(?[0-9a-zA-Z一二三四五六七八九十]{1,3}[.)、）])")
GOOD_BREAK = re.compile(r"[\s，、,;:：)）」』”]")
WIDE = re.compile(r"[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef]")
PARAGRAPH_GAP = re.compile(r"\n[ \t\r\f\v]*\n")
NON_SPACE = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Unit:
    """Characters [start, end) that belong together, white space cut off; `closes` that their paragraph ends here."""

    start: int
    end: int
    num_tokens: int
    closes: bool


def chunk(
    document: ParsedDocument, count_tokens: Callable[[str], int], *, target: int = 180, maximum: int = 240
) -> list[Chunk]:
    """Passages of about `target` and at most `maximum` tokens, in the order of the text.

    A passage is longer than `maximum` only when a single character is.
    """
    packer = _Packer(document, count_tokens, target, maximum)
    for start, end in _between_headings(document):
        packer.begin_section()
        for unit in _units(document, start, end, count_tokens, maximum):
            packer.add(unit)
    packer.cut()
    return packer.chunks


def sentences(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Start and end of each sentence of text[start:end], without the white space around it."""
    end = len(text) if end is None else end
    for line_start, line_end in _joined_lines(text, start, end):
        begin = line_start
        for match in SENTENCE_END.finditer(text, line_start, line_end):
            if text[match.start()] == "." and ABBREVIATION.search(
                text, max(begin, match.start() - 12), match.start() + 1
            ):
                continue
            yield from _trimmed(text, begin, match.end())
            begin = match.end()
        yield from _trimmed(text, begin, line_end)


class _Packer:
    """Puts units into passages, the fullest first."""

    def __init__(self, document: ParsedDocument, count_tokens: Callable[[str], int], target: int, maximum: int) -> None:
        self.chunks: list[Chunk] = []
        self._document, self._count_tokens = document, count_tokens
        self._target, self._maximum = target, maximum
        self._units: list[Unit] = []
        self._is_repeated = False  # whether the first unit is the overlap
        self._page_starts = [page.start for page in document.pages]
        self._headings = _HeadingPath(document)

    def begin_section(self) -> None:
        """Cut, unless what is held is too little to stand alone."""
        if self._num_tokens() >= self._target // 3:
            self.cut()

    def add(self, unit: Unit) -> None:
        """Take in the next unit; cut before it when it does not fit."""
        total = self._num_tokens() + unit.num_tokens
        may_exceed_target = unit.closes and total <= self._target + (self._maximum - self._target) // 2
        if self._units and (total > self._target and not may_exceed_target):
            last = self._units[-1]
            self.cut()
            if last.num_tokens <= self._target // 4 and last.num_tokens + unit.num_tokens <= self._target:
                self._units, self._is_repeated = [last], True
        self._units.append(unit)
        if len(self._units) > 1 and not self._fits():
            self._units.pop()
            self.cut()
            self._units.append(unit)

    def cut(self) -> None:
        """Make a passage of what is held."""
        if self._units and not (self._is_repeated and len(self._units) == 1):
            start, end = self._units[0].start, self._units[-1].end
            page = bisect_right(self._page_starts, start)
            number = self._document.pages[page - 1].number if page else None
            self.chunks.append(Chunk(start, end, number, self._headings.at(start)))
        self._units, self._is_repeated = [], False

    def _num_tokens(self) -> int:
        return sum(unit.num_tokens for unit in self._units)

    def _fits(self) -> bool:
        """Whether the text of the units, with the white space between them, is short enough."""
        start, end = self._units[0].start, self._units[-1].end
        num_between = end - start - sum(unit.end - unit.start for unit in self._units)
        if self._num_tokens() + num_between <= self._maximum:
            return True
        return self._count_tokens(self._document.text[start:end]) <= self._maximum


class _HeadingPath:
    """The titles above a place of the text; asked in the order of the text."""

    def __init__(self, document: ParsedDocument) -> None:
        self._text, self._headings = document.text, document.headings
        self._next, self._path = 0, list[Heading]()

    def at(self, start: int) -> tuple[str, ...]:
        while self._next < len(self._headings) and self._headings[self._next].start <= start:
            heading = self._headings[self._next]
            self._path = [above for above in self._path if above.level < heading.level] + [heading]
            self._next += 1
        return tuple(self._text[heading.start : heading.end] for heading in self._path)


def _between_headings(document: ParsedDocument) -> Iterator[tuple[int, int]]:
    cuts = sorted({0, *(heading.start for heading in document.headings), len(document.text)})
    return pairwise(cuts)


def _units(
    document: ParsedDocument, start: int, end: int, count_tokens: Callable[[str], int], maximum: int
) -> Iterator[Unit]:
    """The sentences and rows of a section; what is longer than `maximum` comes in pieces."""
    text = document.text
    is_rows = document.kind in ROW_KINDS
    for paragraph_start, paragraph_end in _paragraphs(text, start, end):
        has_cells = CELL in text[paragraph_start:paragraph_end]
        split = _lines if is_rows or has_cells else sentences
        spans = list(split(text, paragraph_start, paragraph_end))
        for i, (unit_start, unit_end) in enumerate(spans):
            closes = i + 1 == len(spans)
            num_tokens = (
                count_tokens(text[unit_start:unit_end]) if unit_end - unit_start <= maximum * 40 else maximum + 1
            )
            if num_tokens <= maximum:
                yield Unit(unit_start, unit_end, num_tokens, closes)
            else:
                pieces = list(_pieces(text, unit_start, unit_end, count_tokens, maximum))
                yield from (Unit(*piece, closes and piece is pieces[-1]) for piece in pieces)


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for match in PARAGRAPH_GAP.finditer(text, start, end):
        yield from _trimmed(text, start, match.start())
        start = match.end()
    yield from _trimmed(text, start, end)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        stop = text.find("\n", start, end)
        stop = end if stop < 0 else stop
        yield from _trimmed(text, start, stop)
        start = stop + 1


def _joined_lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The lines of a text; those that a fixed width has broken are one."""
    held: tuple[int, int] | None = None
    for line_start, line_end in _lines(text, start, end):
        if held and _is_wrapped(text, held[1], line_start, line_start - held[1]):
            held = held[0], line_end
        else:
            if held:
                yield held
            held = line_start, line_end
    if held:
        yield held


def _is_wrapped(text: str, end: int, next_start: int, gap: int) -> bool:
    """Whether a line that ends at `end` goes on at `next_start`."""
    if gap > 8 or text[end - 1] in TERMINAL or LIST_ITEM.match(text, next_start):
        return False
    line = text[max(text.rfind("\n", 0, end) + 1, end - 200) : end]
    return len(line) + len(WIDE.findall(line)) >= MIN_WRAPPED_COLUMNS


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """[start, end) without the white space around it; nothing when it is all white space."""
    first = NON_SPACE.search(text, start, end)
    if first is None:
        return
    while text[end - 1].isspace():
        end -= 1
    yield first.start(), end


def _pieces(
    text: str, start: int, end: int, count_tokens: Callable[[str], int], maximum: int
) -> Iterator[tuple[int, int, int]]:
    """Cut what is too long for one passage, behind a comma or a space where there is one in the last third."""
    while start < end:
        stop = _longest_prefix(text, start, end, count_tokens, maximum)
        if stop < end:
            breaks = [match.end() for match in GOOD_BREAK.finditer(text, start + (stop - start) * 2 // 3, stop)]
            stop = breaks[-1] if breaks else stop
        for piece_start, piece_end in _trimmed(text, start, stop):
            yield piece_start, piece_end, min(count_tokens(text[piece_start:piece_end]), maximum)
        start = stop


def _longest_prefix(text: str, start: int, end: int, count_tokens: Callable[[str], int], maximum: int) -> int:
    """The furthest stop for which text[start:stop] is short enough; one character at least."""
    good, bad = start + 1, min(start + 2 * maximum, end) + 1
    while bad <= end and count_tokens(text[start:bad]) <= maximum and bad - start <= maximum * 40:
        good, bad = bad, min(start + (bad - start) * 2, end + 1)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if count_tokens(text[start:middle]) <= maximum else (good, middle)
    return good
