"""Numbers of a run: the rows of `metrics.jsonl`, and the bytes behind a split's tokens."""

import json
from pathlib import Path
from typing import Any

from core.data.mmap_file import MmapFileHandler
from core.errors import TrainingError


class MetricsWriter:
    """Appends one JSON row per call, whole lines only, so a reader never meets half a row."""

    def __init__(self, path: Path, attempt: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(path)
        self._file = path.open("ab", buffering=0)
        self._attempt = attempt

    def write(self, step: int, **values: Any) -> None:
        """Append one row. Raises TrainingError when the disk takes no more."""
        row = {"attempt": self._attempt, "step": step, **values}
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        try:
            while line:  # a disk that is nearly full takes a part and refuses the rest
                line = line[self._file.write(line) :]
        except OSError as exc:
            raise TrainingError(
                f"The metrics of step {step} could not be written: {exc}.",
                "Free some space; checkpoints are untouched and the run resumes with --resume.",
            ) from exc

    def close(self) -> None:
        self._file.close()


def bytes_per_token(handler: MmapFileHandler, split: str) -> float:
    """UTF-8 bytes of text per token of a split, its end tokens counted."""
    return handler.num_bytes(split) / handler.num_tokens(split)


def _end_torn_line(path: Path) -> None:
    """A crash may have cut the last row: end its line, so that the next row stands alone."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
