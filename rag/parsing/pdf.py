"""PDF → text with lines, boxes, headings and pages, by PDFium; pages that are pictures by OCR.

PDFium gives characters in the order of the page's content, breaks them into lines, and measures in the page's own
space; what leaves here is measured as displayed, after rotation and cropping.
"""

import ctypes
import functools
import itertools
import re
from collections.abc import Iterator, Sequence

import pypdfium2
import pypdfium2.raw as pdfium

from rag.documents import Box, Page, ParsedDocument
from rag.parsing.boxes import around
from rag.parsing.kinds import Source
from rag.parsing.ocr import Recogniser
from rag.parsing.page_layout import HYPHENS, LEADER, PageLine, add_page, joined_in_row, mark_headings_by_size
from rag.parsing.text_builder import TextBuilder, clean
from rag.remarks import RefusedError, Remark

DEVICE_SCALE = 100  # PDFium gives places on the display as whole numbers
OCR_SCALE = 300 / 72
MAX_PIXELS = 24_000_000
HYPHENATED = re.compile(r"[^\W\d_]-$")
MAX_ROW_HEIGHT = 1.4  # of a line, in heights of its font
MAX_OUTLINE_ENTRIES = 5000
MIN_PICTURE_SHARE = 0.3  # of a page, for a page without text to count as a picture
MAX_ODD_SHARE = 0.2  # of a page's characters, before its text layer counts as broken
ODD = re.compile("[\ue000-\uf8ff\ufffd\U000f0000-\U0010ffff]")
PASSWORD_ERROR = 4


def read(source: Source, _: str) -> ParsedDocument:
    """The text of a PDF. Raises: DocumentError."""
    document = open_pdf(source)
    num_pages = len(document)
    if num_pages > source.limits.num_pages:
        raise RefusedError("too_many_pages", count=num_pages, most=source.limits.num_pages)
    builder = TextBuilder(source.limits.num_characters)
    reading = _Reading(source.limits.ocr_s)
    pages, sizes = [], []
    for index in range(num_pages):
        lines, size = reading.page(document, index)
        pages.append(lines)
        sizes.append(size)
    if not _mark_outline(document, pages):
        mark_headings_by_size(pages)
    for number, (lines, (width, height)) in enumerate(zip(pages, sizes, strict=True), 1):
        start = builder.length
        add_page(builder, number, lines)
        start = min(start + 2, builder.length) if start else 0  # behind the empty line before the page's first words
        builder.pages.append(Page(number, start, builder.length, width, height))
    builder.notes += reading.notes(num_pages)
    if not builder.length:
        raise reading.no_text(num_pages)
    return builder.build("pdf", _title(document) or source.stem)


def open_pdf(source: Source) -> pypdfium2.PdfDocument:
    """The file, which has pages. Raises: DocumentError."""
    try:
        document = pypdfium2.PdfDocument(source.content)
        num_pages = len(document)
    except pypdfium2.PdfiumError as exc:
        if pdfium.FPDF_GetLastError() == PASSWORD_ERROR or "password" in str(exc).lower():
            raise RefusedError("password") from exc
        raise RefusedError("damaged_pdf") from exc
    if num_pages < 1:
        raise RefusedError("no_pages")
    return document


def _title(document: pypdfium2.PdfDocument) -> str:
    """What the file says of itself, unless it is what a program left there."""
    title = clean(document.get_metadata_value("Title")).strip()
    has_suffix = title.lower().endswith((".doc", ".docx", ".indd", ".tex", ".dvi", ".qxd", ".ppt", ".pptx", ".pdf"))
    return "" if has_suffix or len(title) < 4 or title.lower().startswith(("untitled", "microsoft ")) else title


class _Reading:
    """What was seen on the pages on the way."""

    def __init__(self, ocr_s: float) -> None:
        self._recogniser = Recogniser(ocr_s)
        self._num_pictures = self._num_odd = self._num_recognised = self._num_broken = 0

    def page(self, document: pypdfium2.PdfDocument, index: int) -> tuple[list[PageLine], tuple[float, float]]:
        """Lines of a page and its size as displayed."""
        try:
            page = document[index]
        except pypdfium2.PdfiumError:
            self._num_broken += 1
            return [], (0.0, 0.0)
        size = page.get_size()
        lines = _text_lines(page, size)
        is_picture, is_odd = not lines and _has_picture(page, size), _is_odd(lines)
        self._num_pictures += is_picture
        self._num_odd += is_odd
        if (is_picture or is_odd) and self._recogniser.is_at_hand:
            recognised = self._recognised(page)
            self._num_recognised += bool(recognised)
            lines = recognised or lines
        page.close()
        return lines, size

    def notes(self, num_pages: int) -> Iterator[Remark]:
        """What the user should know."""
        if self._num_pictures:
            yield Remark("note_images", {"count": self._num_pictures, "total": num_pages})
        if self._num_odd:
            yield Remark("note_odd_text", {"count": self._num_odd, "total": num_pages})
        if self._num_recognised:
            yield Remark("note_recognised", {"count": self._num_recognised, "total": num_pages})
        elif self._num_pictures or self._num_odd:
            yield Remark("note_tesseract_nothing" if self._recogniser.program else "note_no_tesseract")
        if self._num_broken:
            yield Remark("note_damaged", {"count": self._num_broken, "total": num_pages})

    def no_text(self, num_pages: int) -> RefusedError:
        """Why there is none at all."""
        if self._num_broken:
            return RefusedError("broken_pages", count=self._num_broken, total=num_pages)
        if self._num_pictures and not self._recogniser.program:
            return RefusedError("pictures", count=self._num_pictures, total=num_pages)
        if self._num_pictures:
            return RefusedError("pictures_without_text")
        return RefusedError("pages_without_text", total=num_pages)

    def _recognised(self, page: pypdfium2.PdfPage) -> list[PageLine]:
        scale = fitting_scale(page.get_size(), OCR_SCALE)
        lines = []
        for line in self._recogniser.lines(page.render(scale=scale, grayscale=True).to_pil()):
            box = Box(*(side / scale for side in (line.box.left, line.box.top, line.box.right, line.box.bottom)))
            text = " ".join(clean(line.text).split())
            if text:
                lines.append(PageLine(text, box))
        return lines


def fitting_scale(size: tuple[float, float], scale: float) -> float:
    """At most `scale`, and so small that the picture has at most MAX_PIXELS."""
    return min(scale, (MAX_PIXELS / max(size[0] * size[1], 1.0)) ** 0.5)


def _text_lines(page: pypdfium2.PdfPage, size: tuple[float, float]) -> list[PageLine]:
    textpage = page.get_textpage()
    try:
        place = _Place(page, size)
        characters = _characters(textpage)
        spans = (row for start, end in _line_spans(characters) for row in place.rows(textpage, start, end))
        lines = [line for start, end in spans if (line := place.line(textpage, characters, start, end))]
    finally:
        textpage.close()
    return joined_in_row(lines)


def _characters(textpage: pypdfium2.PdfTextPage) -> Sequence[str]:
    """The characters by PDFium's index; each half of a pair is one."""
    count = textpage.count_chars()
    text = textpage.get_text_range() if count else ""
    if len(text) == count and max(text, default="") < "\U00010000":
        return text
    codes = (pdfium.FPDFText_GetUnicode(textpage.raw, i) for i in range(count))  # slow, and right in every case
    return [chr(code) if code <= 0x10FFFF else "\ufffd" for code in codes]


def _line_spans(characters: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = 0
    for i, character in enumerate(characters):
        if character in "\r\n":
            yield start, i
            start = i + 1
    yield start, len(characters)


class _Place:
    """From the page's own space to the page as displayed."""

    def __init__(self, page: pypdfium2.PdfPage, size: tuple[float, float]) -> None:
        self._page, self._size = page.raw, size
        self._sides = [ctypes.c_double() for _ in range(4)]
        self._loose = pdfium.FS_RECTF()

    def line(self, textpage: pypdfium2.PdfTextPage, characters: Sequence[str], start: int, end: int) -> PageLine | None:
        """Characters [start, end) as a line; None when nothing of it is on the page."""
        while start < end and characters[start].isspace():
            start += 1
        while start < end and characters[end - 1].isspace():
            end -= 1
        raw_text = "".join(characters[start:end])
        is_hyphenated = raw_text.endswith(HYPHENS) or HYPHENATED.search(raw_text) is not None
        whole = (
            (raw_text[:-1] if is_hyphenated else raw_text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )  # pairs are one character again
        text = LEADER.sub(" … ", " ".join(clean(whole).split())).strip()
        box = self._box(textpage, start, end) if text else None
        if box is None:
            return None
        is_level = self._is_level(textpage, box, start, end)
        pieces = [] if is_level else self._words(textpage, characters, start, end, text)
        return PageLine(text, box, self._font_size(textpage, start), None, pieces, is_hyphenated)

    def rows(self, textpage: pypdfium2.PdfTextPage, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Parts of [start, end) that stand in one row each: PDFium takes some rows for one line."""
        box = self._box(textpage, start, end)
        height = MAX_ROW_HEIGHT * self._font_size(textpage, start)
        if box is None or not 0 < height < box.bottom - box.top < box.right - box.left:
            yield start, end
            return
        row: Box | None = None
        for i in range(start, end):
            character = self._box(textpage, i, i + 1)
            if row is not None and character is not None and not _shares_row(row, character):
                yield start, i
                start, row = i, None
            if character is not None:
                row = around(row, character) if row is not None else character
        yield start, end

    def _is_level(self, textpage: pypdfium2.PdfTextPage, box: Box, start: int, end: int) -> bool:
        """Whether the line runs from left to right as displayed: its box can be cut by the share of its width."""
        if box.bottom - box.top > 1.5 * (box.right - box.left) and end - start > 2:
            return False
        first, last = self._box(textpage, start, start + 1), self._box(textpage, end - 1, end)
        return first is None or last is None or first.left <= last.left

    def _box(self, textpage: pypdfium2.PdfTextPage, start: int, end: int) -> Box | None:
        """Where characters [start, end) are displayed; None when that is outside the page."""
        sides = self._bounds(textpage, start, end)
        if sides is None:
            return None
        width, height = self._size
        corners = [self._point(sides[0], sides[1]), self._point(sides[2], sides[3])]
        (x0, x1), (y0, y1) = sorted(corner[0] for corner in corners), sorted(corner[1] for corner in corners)
        box = Box(max(x0, 0.0), max(y0, 0.0), min(x1, width), min(y1, height))
        return box if box.left < box.right and box.top < box.bottom else None

    def _bounds(
        self, textpage: pypdfium2.PdfTextPage, start: int, end: int
    ) -> tuple[float, float, float, float] | None:
        """Left, bottom, right and top of the characters, in the page's space."""
        left, top, right, bottom = self._sides
        count = max(pdfium.FPDFText_CountRects(textpage.raw, start, end - start), 0)
        rects = [
            (left.value, bottom.value, right.value, top.value)
            for i in range(count)
            if pdfium.FPDFText_GetRect(textpage.raw, i, left, top, right, bottom)
        ]
        if not rects:
            return None
        lefts, bottoms, rights, tops = zip(*rects, strict=True)
        return min(lefts), min(bottoms), max(rights), max(tops)

    def _point(self, x: float, y: float) -> tuple[float, float]:
        device_x, device_y = ctypes.c_int(), ctypes.c_int()
        width, height = (round(side * DEVICE_SCALE) for side in self._size)
        pdfium.FPDF_PageToDevice(self._page, 0, 0, width, height, 0, x, y, device_x, device_y)
        return device_x.value / DEVICE_SCALE, device_y.value / DEVICE_SCALE

    def _font_size(self, textpage: pypdfium2.PdfTextPage, index: int) -> float:
        """Height of the line's font as drawn; the size in the file may be scaled."""
        if not pdfium.FPDFText_GetLooseCharBox(textpage.raw, index, self._loose):
            return 0.0
        return abs(self._loose.top - self._loose.bottom)

    def _words(
        self, textpage: pypdfium2.PdfTextPage, characters: Sequence[str], start: int, end: int, text: str
    ) -> list[tuple[int, int, Box]]:
        """A box for each word, where the box of a line could not be cut by the share of its width."""
        pieces, at = [], 0
        for is_space, group in itertools.groupby(range(start, end), lambda i: characters[i].isspace()):
            indexes = list(group)
            word = "" if is_space else clean("".join(characters[i] for i in indexes))
            found = text.find(word, at) if word else -1
            box = self._box(textpage, indexes[0], indexes[-1] + 1) if found >= 0 else None
            if box:
                pieces.append((found, found + len(word), box))
                at = found + len(word)
        return pieces


def _shares_row(row: Box, character: Box) -> bool:
    shared = min(row.bottom, character.bottom) - max(row.top, character.top)
    return shared > 0.3 * min(row.bottom - row.top, character.bottom - character.top)


def _has_picture(page: pypdfium2.PdfPage, size: tuple[float, float]) -> bool:
    area = 0.0
    try:
        for picture in itertools.islice(page.get_objects([pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3), 500):
            left, bottom, right, top = picture.get_bounds()
            area += max(right - left, 0.0) * max(top - bottom, 0.0)
    except pypdfium2.PdfiumError:
        return False
    return area >= MIN_PICTURE_SHARE * size[0] * size[1]


def _is_odd(lines: Sequence[PageLine]) -> bool:
    """Whether many of the characters are none: of private use, or replaced."""
    text = "".join(line.text for line in lines)
    return len(ODD.findall(text)) > MAX_ODD_SHARE * len(text)


def _mark_outline(document: pypdfium2.PdfDocument, pages: Sequence[Sequence[PageLine]]) -> bool:
    """Give levels to the lines that the PDF's own table of contents names; False when it names too few of them."""
    num_entries, found = 0, []
    letters = functools.cache(lambda index: [(_letters(line.text), line) for line in pages[index]])
    try:
        for entry in itertools.islice(document.get_toc(max_depth=6), MAX_OUTLINE_ENTRIES):
            destination, title = entry.get_dest(), _letters(entry.get_title())
            index = destination.get_index() if destination else None
            if index is None or not 0 <= index < len(pages) or not title:
                continue
            num_entries += 1
            line = next((line for words, line in letters(index) if _is_title(words, title)), None)
            if line is not None:
                found.append((line, min(entry.level + 1, 6)))
    except pypdfium2.PdfiumError:
        return False
    if len(found) < 3 or len(found) < 0.5 * num_entries:
        return False
    for line, level in found:
        line.level = level
    return True


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _is_title(line: str, title: str) -> bool:
    return line == title or (len(title) >= 4 and title in line and len(line) <= len(title) + 8)
