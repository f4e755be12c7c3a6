"""Text of pictures by the system's tesseract, where it is installed."""

import functools
import io
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.documents import Box
from rag.parsing.boxes import around

if TYPE_CHECKING:
    from PIL.Image import Image

LANGUAGES = ("chi_sim", "chi_tra", "eng")
PAGE_S = 120.0
MIN_CONFIDENCE = 25.0  # of 100; below it tesseract reads specks
MIN_SURE = 80.0  # of 100, on average


@dataclass(frozen=True, slots=True)
class RecognisedLine:
    """A line of text and where it stands in the picture, in pixels."""

    text: str
    box: Box


def find_tesseract() -> str | None:
    """The program's path, or None where it is not installed."""
    return shutil.which("tesseract")


class Recogniser:
    """Recognises pictures until its time is over."""

    def __init__(self, seconds: float) -> None:
        self.program = find_tesseract()
        self._deadline_s = time.monotonic() + seconds

    @property
    def is_at_hand(self) -> bool:
        """Whether tesseract is installed and there is time left."""
        return self.program is not None and time.monotonic() < self._deadline_s

    def lines(self, picture: "Image") -> list[RecognisedLine]:
        """The lines of a picture, in tesseract's reading order; none when it fails or takes too long."""
        lines, confidence = self._recognised(picture)
        if lines and confidence < MIN_SURE and self.is_at_hand:  # it may stand on its head, which few words do not tell
            turned, turned_confidence = self._recognised(picture.rotate(180))
            if turned_confidence > confidence:
                return [RecognisedLine(line.text, _turned(line.box, *picture.size)) for line in turned]
        return lines

    def _recognised(self, picture: "Image") -> tuple[list[RecognisedLine], float]:
        """The lines, and how sure tesseract is of their words, of 100."""
        assert self.program is not None
        content = io.BytesIO()
        picture.convert("L").save(content, "PNG", compress_level=1)
        names = _languages(self.program)
        mode = "1" if "osd" in names else "3"  # 1 turns a page that stands on its head
        wanted = "+".join(name for name in LANGUAGES if name in names) or "eng"
        command = [self.program, "stdin", "stdout", "-l", wanted, "--psm", mode, "tsv"]
        seconds = min(PAGE_S, max(self._deadline_s - time.monotonic(), 1.0))
        try:
            result = subprocess.run(command, input=content.getvalue(), capture_output=True, timeout=seconds, check=True)
        except (subprocess.SubprocessError, OSError):
            return [], 0.0
        return _lines(result.stdout.decode("utf-8", "replace"))


def _turned(box: Box, width: int, height: int) -> Box:
    return Box(width - box.right, height - box.bottom, width - box.left, height - box.top)


@functools.cache
def _languages(program: str) -> frozenset[str]:
    try:
        result = subprocess.run([program, "--list-langs"], capture_output=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError):
        return frozenset()
    return frozenset(result.stdout.decode("utf-8", "replace").split())


def _lines(table: str) -> tuple[list[RecognisedLine], float]:
    """Rows of tesseract's table: level page block paragraph line word left top width height confidence text."""
    words: dict[tuple[str, ...], list[tuple[str, Box]]] = {}
    confidences = []
    for row in table.splitlines()[1:]:
        fields = row.split("\t", 11)
        if len(fields) == 12 and fields[0] == "5" and fields[11].strip() and float(fields[10]) >= MIN_CONFIDENCE:
            left, top, width, height = map(float, fields[6:10])
            words.setdefault(tuple(fields[1:5]), []).append((fields[11], Box(left, top, left + width, top + height)))
            confidences.append(float(fields[10]))
    return [_line(line) for line in words.values()], statistics.fmean(confidences or [0.0])


def _line(words: list[tuple[str, Box]]) -> RecognisedLine:
    text = words[0][0]
    for word, _ in words[1:]:
        is_chinese = "\u2e80" <= text[-1] <= "\uffef" and "\u2e80" <= word[0] <= "\uffef"
        text += word if is_chinese else f" {word}"
    return RecognisedLine(text, functools.reduce(around, (box for _, box in words)))
