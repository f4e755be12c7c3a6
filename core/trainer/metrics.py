"""Numbers of a run: the rows of `metrics.jsonl`, and the bytes behind a split's tokens."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.data.mmap_file import MmapFileHandler
from core.errors import SetupError, TrainingError


class MetricsWriter:
    """Appends one JSON row per call, whole lines only, so a reader never meets half a row.

    With a `tensorboard` folder the numbers go there as event files too.
    """

    def __init__(self, path: Path, attempt: int, *, tensorboard: Path | None = None) -> None:
        """Raises SetupError when TensorBoard's writer is asked for and missing."""
        self._events = _event_writer(tensorboard) if tensorboard else None
        self._path, self._attempt = path, attempt
        path.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(path)

    def write(self, step: int, **values: Any) -> None:
        """Append one row. Raises TrainingError when the disk takes no more."""
        append_row(self._path, {"attempt": self._attempt, "step": step, **values})
        if self._events is not None:
            for name in values.keys() - {"time"}:
                self._events.add_scalar(name, values[name], step, walltime=values.get("time"))

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append a JSON line. Raises TrainingError when the disk takes no more."""
    line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
    try:
        with path.open("ab", buffering=0) as file:
            while line:  # a disk that is nearly full takes a part and refuses the rest
                line = line[file.write(line) :]
    except OSError as exc:
        raise TrainingError(
            "The row of step {step} could not be written to {file}: {reason}.",
            "Free some space; checkpoints are untouched and the run resumes with --resume.",
            kind="disk_full",
            step=row["step"],
            file=path.name,
            reason=exc,
        ) from exc


def _event_writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as exc:
        raise SetupError("TensorBoard files need tensorboardX.", "pip install tensorboardX, or turn it off.") from exc
    return SummaryWriter(str(folder))


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
