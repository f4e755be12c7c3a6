"""Text of pictures by the system's tesseract, where it is installed."""

import functools
import io
import shutil
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.documents import Box

if TYPE_CHECKING:
    from PIL.Image import Image

LANGUAGES = ("chi_sim", "chi_tra", "eng")
PAGE_S = 120.0
MIN_CONFIDENCE = 25.0  # of 100; below it tesseract reads specks


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
            return []
        return _lines(result.stdout.decode("utf-8", "replace"))


@functools.cache
def _languages(program: str) -> frozenset[str]:
    try:
        result = subprocess.run([program, "--list-langs"], capture_output=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError):
        return frozenset()
    return frozenset(result.stdout.decode("utf-8", "replace").split())


def _lines(table: str) -> list[RecognisedLine]:
    """Rows of tesseract's table: level page block paragraph line word left top width height confidence text."""
    words: dict[tuple[str, ...], list[tuple[str, Box]]] = {}
    for row in table.splitlines()[1:]:
        fields = row.split("\t", 11)
        if len(fields) == 12 and fields[0] == "5" and fields[11].strip() and float(fields[10]) >= MIN_CONFIDENCE:
            left, top, width, height = map(float, fields[6:10])
            words.setdefault(tuple(fields[1:5]), []).append((fields[11], Box(left, top, left + width, top + height)))
    return [_line(line) for line in words.values()]


def _line(words: list[tuple[str, Box]]) -> RecognisedLine:
    boxes = [box for _, box in words]
    around = Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )
    text = words[0][0]
    for word, _ in words[1:]:
        is_chinese = "\u2e80" <= text[-1] <= "\uffef" and "\u2e80" <= word[0] <= "\uffef"
        text += word if is_chinese else f" {word}"
    return RecognisedLine(text, around)
