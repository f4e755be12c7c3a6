"""The file that a batch writes: a line for each row, in order, and beside it the job that it belongs to.

`y.jsonl.job.json` says which input, options and model the answers are of. It is written before the first answer
and stays: the same job started again goes on after the last whole line, another one is refused.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from core.errors import ConfigError, DataError
from core.files import read_json_object, write_json

SYNC_INTERVAL_S = 5.0
Job = dict[str, Any]


class BatchOutput:
    """An open output. `num_rows` answers are in it, of `job`."""

    def __init__(self, path: Path, file: BinaryIO, job: Job, num_rows: int) -> None:
        self.path, self.job, self.num_rows = path, job, num_rows
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._synced_s = time.monotonic()

    def write(self, answer: dict[str, Any]) -> None:
        """Add the next row's answer. Raises DataError, after cutting off a part that was written."""
        line = (json.dumps({"index": self.num_rows, **answer}, ensure_ascii=False) + "\n").encode()
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as exc:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise self._error(exc) from exc
        self.num_rows += 1
        self._size += len(line)
        if time.monotonic() - self._synced_s > SYNC_INTERVAL_S:
            self.sync()

    def sync(self) -> None:
        """Flush it to disk. Raises DataError."""
        try:
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise self._error(exc) from exc
        self._synced_s = time.monotonic()

    def _error(self, exc: OSError) -> DataError:
        return DataError(
            f"{self.path} cannot be written: {exc.strerror}; it holds the first {self.num_rows:,} rows.",
            "Free some space and start again; it goes on there.",
        )


@contextlib.contextmanager
def open_output(path: Path, job: Job, fresh: Job) -> Iterator[BatchOutput]:
    """Begin a file, or go on with one of the same `job`; `fresh` is drawn once and kept with it.

    Raises: DataError when it cannot be written, ConfigError when it is of another job, or somebody is at it.
    """
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(lock, timeout=0))
            stack.callback(_remove, lock)
            kept, num_rows = _begin(path, job, fresh)
            file = stack.enter_context(path.open("ab", buffering=0))
        except Timeout as exc:
            raise ConfigError(f"Another process writes {path}.", "Wait for it, or choose another output.") from exc
        except OSError as exc:
            raise DataError(f"{path} cannot be written: {exc.strerror}.", "Choose another place to write.") from exc
        output = BatchOutput(path, file, kept, num_rows)
        yield output
        output.sync()


def _remove(lock: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a file that is open
        lock.unlink()


def _begin(path: Path, job: Job, fresh: Job) -> tuple[Job, int]:
    """The job as it is kept, and the number of whole lines; a line that was not finished is cut off."""
    beside = path.with_name(f"{path.name}.job.json")
    if not path.exists() or (path.stat().st_size == 0 and not beside.exists()):
        write_json(beside, {**job, **fresh})
        path.touch()
        return {**job, **fresh}, 0
    if not path.is_file() or not beside.exists():
        raise ConfigError(f"{path} is there already, and not of a batch.", "Choose another output, or remove it.")
    kept = read_json_object(beside)
    other = [name for name in job if kept.get(name) != job[name]]
    if other:
        raise ConfigError(
            f"{path} was begun with another {_difference(other[0], kept.get(other[0]), job[other[0]])}.",
            f"Give the same again, choose another output, or remove it and {beside.name}.",
        )
    return kept, _cut(path)


def _difference(name: str, before: Any, now: Any) -> str:
    """`temperature: 0.7, now 0.2`: the first thing that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        return next(f"{key}: {before.get(key)}, now {now[key]}" for key in now if before.get(key) != now[key])
    return f"{name}: {before}, now {now}" if name != "input" else "input"


def _cut(path: Path) -> int:
    """Cut off what was not written whole, and count the rows. Raises DataError for a line that is not ours."""
    size = num_rows = 0
    with path.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            if not line.startswith(b'{"index": %d,' % num_rows):
                raise DataError(
                    f"{path} has something else than row {num_rows} on line {num_rows + 1:,}.",
                    "Choose another output, or remove this one.",
                )
            num_rows, size = num_rows + 1, size + len(line)
        file.truncate(size)
    return num_rows
