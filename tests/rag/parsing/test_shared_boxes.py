"""Boxes of passages on real PDFs, two-column, rotated and Chinese ones among them, against an independent measure.

The measure is PDFium's box of every single character, brought to the display by the four formulas of a rotation, and
put together line by line. What is tested took another way: rectangles of runs, PDFium's own mapping to a device, and
a share of a line's width where a passage ends inside it.
"""

import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from numpy.typing import NDArray

from core.errors import DocumentError
from rag.documents import ParsedDocument
from rag.parsing import Parser, passage_boxes
from tests.conftest import SHARED_DATA

pytestmark = [pytest.mark.shared, pytest.mark.slow, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)
PDFS = SHARED_DATA / "rag" / "documents" / "pdf"
LARGE = ("unst-DA-619p.pdf", "hit-chatgpt_book.pdf")  # minutes, for no other kind of page
MAX_ROTATED_PAGES = 6
LENGTHS = (30, 60, 120, 200)  # of passages, in characters
PIXELS_PER_POINT = 2
Rectangle = tuple[float, float, float, float]


def displayed(page: pypdfium2.PdfPage, left: float, bottom: float, right: float, top: float) -> Rectangle:
    """Left, top, right and bottom on the display."""
    media, crop = page.get_mediabox(), page.get_cropbox()
    x0, y0 = max(media[0], crop[0]), max(media[1], crop[1])
    width, height = min(media[2], crop[2]) - x0, min(media[3], crop[3]) - y0
    places = {
        0: lambda x, y: (x, height - y),
        90: lambda x, y: (y, x),
        180: lambda x, y: (width - x, y),
        270: lambda x, y: (height - y, width - x),
    }
    (xa, ya), (xb, yb) = (places[page.get_rotation()](x - x0, y - y0) for x, y in ((left, bottom), (right, top)))
    return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)


def measured(page: pypdfium2.PdfPage, passage: str) -> list[Rectangle]:
    """A rectangle for each line of a passage; none unless it stands on the page once."""
    textpage = page.get_textpage()
    characters = [chr(pdfium.FPDFText_GetUnicode(textpage.raw, i)) for i in range(textpage.count_chars())]
    letters = [i for i, character in enumerate(characters) if character.isalnum()]
    page_letters, wanted = "".join(characters[i] for i in letters), "".join(filter(str.isalnum, passage))
    if not wanted or page_letters.count(wanted) != 1:
        return []
    first = page_letters.index(wanted)
    span = range(letters[first], letters[first + len(wanted) - 1] + 1)
    boxes = [displayed(page, *textpage.get_charbox(i)) for i in span if not characters[i].isspace()]
    rows: list[Rectangle] = []
    for box in boxes:
        if rows and min(rows[-1][3], box[3]) - max(rows[-1][1], box[1]) > 0.3 * min(
            rows[-1][3] - rows[-1][1], box[3] - box[1]
        ):
            last = rows[-1]
            rows[-1] = (min(last[0], box[0]), min(last[1], box[1]), max(last[2], box[2]), max(last[3], box[3]))
        else:
            rows.append(box)
    return rows


def overlap(ours: Sequence[Rectangle], theirs: Sequence[Rectangle], size: tuple[float, float]) -> float:
    """Intersection over union of two sets of rectangles."""
    one, other = painted(ours, size), painted(theirs, size)
    return float((one & other).sum() / max((one | other).sum(), 1))


def painted(rectangles: Sequence[Rectangle], size: tuple[float, float]) -> NDArray[np.bool_]:
    pixels = np.zeros([int(side * PIXELS_PER_POINT) + 2 for side in reversed(size)], dtype=np.bool_)
    for rectangle in rectangles:
        left, top, right, bottom = (round(side * PIXELS_PER_POINT) for side in rectangle)
        pixels[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return pixels


def checks(path: Path, document: ParsedDocument, seed: int) -> Iterator[float]:
    """IoU of some passages, which begin and end in the middle of lines."""
    draw = random.Random(seed)
    file = pypdfium2.PdfDocument(path)
    pages = [page for page in document.pages if page.end - page.start > 20]
    for page in draw.sample(pages, min(3, len(pages))):
        for _ in range(20):
            length = min(draw.choice(LENGTHS), (page.end - page.start) // 2)
            start = draw.randrange(page.start, page.end - length)
            end = start + length
            theirs = measured(file[page.number - 1], document.text[start:end])
            if theirs and document.text[start].isalnum() and document.text[end - 1].isalnum():
                boxes = passage_boxes(document.lines, start, end, document.text)
                ours = [(box.left, box.top, box.right, box.bottom) for _, box in boxes]
                yield overlap(ours, theirs, (page.width, page.height))
                break


def rotated(path: Path, rotation: int, target: Path) -> bool:
    """Write a copy whose pages are drawn turned and turned back by /Rotate, as scanners and landscape pages have it."""
    file = pypdfium2.PdfDocument(path)
    if len(file) > MAX_ROTATED_PAGES or any(page.get_rotation() for page in file):
        return False
    for page in file:
        width, height = page.get_size()
        turn = {90: (0, 1, -1, 0, height, 0), 180: (-1, 0, 0, -1, width, height), 270: (0, -1, 1, 0, 0, width)}[
            rotation
        ]
        for drawn in page.get_objects(max_depth=1):
            drawn.transform(pypdfium2.PdfMatrix(*turn))
        box = (0, 0, width, height) if rotation == 180 else (0, 0, height, width)
        page.set_mediabox(*box)
        page.set_cropbox(*box)
        page.set_rotation(rotation)
        page.gen_content()
    file.save(target)
    return True


def test_boxes_cover_the_passages_of_real_pdfs(tmp_path: Path) -> None:
    found: dict[str, list[float]] = {"as it is": [], "rotated": [], "Chinese": []}
    num_files = 0
    with Parser() as parser:
        for path in sorted(path for path in PDFS.glob("*.pdf") if path.name not in LARGE):
            for rotation in (0, 90, 180, 270):
                copy = tmp_path / f"{rotation}.pdf"
                if rotation and not rotated(path, rotation, copy):
                    continue
                try:
                    document = parser.parse(copy if rotation else path)
                except DocumentError:
                    continue  # a scan
                overlaps = list(checks(copy if rotation else path, document, seed=1))
                is_chinese = sum("\u4e00" <= character <= "\u9fff" for character in document.text) > 10
                found["Chinese" if is_chinese else "rotated" if rotation else "as it is"] += overlaps
                num_files += 1
    for name, overlaps in found.items():
        share = np.mean(np.array(overlaps) >= 0.5)
        logger.info(
            "%s: %d passages, mean IoU %.3f, %.3f at 0.5 or more", name, len(overlaps), np.mean(overlaps), share
        )
        assert share >= 0.95
    every = np.concatenate(list(found.values()))
    logger.info("%d files, %d passages, mean IoU %.3f, lowest %.3f", num_files, len(every), every.mean(), every.min())
    assert num_files >= 30
    assert len(every) >= 60
    assert every.mean() >= 0.85
