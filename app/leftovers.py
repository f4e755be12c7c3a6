"""What a program that was killed left half-written: the temporary siblings of `core.files.write_atomic`."""

import logging
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

import psutil

TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.tmp")
OF_SAFETENSORS = re.compile(r"\.tmp[0-9A-Za-z]{6}")  # which it writes beside ours, and names no process
CLOCK_S = 2.0  # by which a process's start and a file's time may disagree

logger = logging.getLogger(__name__)


def sweep(folder: Path) -> list[Path]:
    """Delete what was begun below a folder by processes that are gone; the files that were deleted.

    One whose process may still write it stays. Links are not followed, and what cannot be deleted stays.
    """
    swept, now = list[Path](), time.time()
    for place, _, names in os.walk(folder):
        marks = {name: int(found[1]) for name in names if (found := TEMPORARY.fullmatch(name))}
        dead = [name for name, pid in marks.items() if not _is_written(Path(place, name), pid)]
        if dead and len(dead) == len(marks):
            dead += [name for name in names if OF_SAFETENSORS.fullmatch(name) and _time_of(Path(place, name)) < now]
        for name in dead:
            with suppress(OSError):
                Path(place, name).unlink()
                swept.append(Path(place, name))
    if swept:
        logger.info("deleted %d files that were begun by programs that ended", len(swept))
    return swept


def _is_written(path: Path, pid: int) -> bool:
    """Whether the process that began a file may still be there: not one that took its number later."""
    try:
        return psutil.Process(pid).create_time() < _time_of(path) + CLOCK_S
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False
    except (psutil.Error, OSError):
        return True


def _time_of(path: Path) -> float:
    """When a regular file was last written; for anything else, that it is written now."""
    try:
        status = path.lstat()
    except OSError:
        return float("inf")
    return status.st_mtime if stat.S_ISREG(status.st_mode) else float("inf")
