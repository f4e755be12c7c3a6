"""One page for one data folder: an operating system's lock, which ends with whoever holds it.

The lock says that somebody runs; the note beside it says who and where. A note without a lock is of a program that was
killed, and is taken over. There is no process number to believe, for another program may have it by now.
"""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from app.loopback import HOST
from core.errors import AssistantError, SetupError
from core.files import read_json_object, write_json

LOCK, NOTE = "instance.lock", "instance.json"
WAIT_S = 20.0  # for a page that has just begun to start
ANSWER_S = 5.0
INTERVAL_S = 0.2


@dataclass(frozen=True, slots=True)
class Running:
    """The page that runs on a data folder. `started_at` is of `time.time()`."""

    pid: int
    port: int
    started_at: float

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/"

    def answers(self) -> bool:
        """Whether its page is there."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.address}health", timeout=ANSWER_S) as response:
                return isinstance(json.load(response), dict)
        except (OSError, ValueError):
            return False


class TakenError(SetupError):
    """Another page runs on this data folder; `running` says where, None that it has not said yet."""

    def __init__(self, folder: Path, running: Running | None) -> None:
        where = f" at {running.address} (process {running.pid})" if running else ""
        super().__init__(f"AstrAI runs already on the data folder {folder}{where}.", "Use that one, or end it first.")
        self.running = running


@contextmanager
def only_instance(folder: Path) -> Iterator[None]:
    """Hold the folder's lock for the block. Raises TakenError while another program holds it."""
    lock = FileLock(folder / LOCK, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout as exc:
        raise TakenError(folder, _await_note(folder)) from exc
    note = folder / NOTE
    try:
        note.unlink(missing_ok=True)
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def announce(folder: Path, port: int) -> None:
    """Say where the page is, once its port is known."""
    write_json(folder / NOTE, asdict(Running(os.getpid(), port, time.time())))


def running_instance(folder: Path) -> Running | None:
    """The page that runs on this folder, None where none does."""
    lock = FileLock(folder / LOCK, timeout=0, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        return _note(folder)
    lock.release()
    return None


def _await_note(folder: Path) -> Running | None:
    """Where the other one is; it may still be on its way to a port."""
    deadline = time.monotonic() + WAIT_S
    while (found := _note(folder)) is None and time.monotonic() < deadline:
        time.sleep(INTERVAL_S)
    return found


def _note(folder: Path) -> Running | None:
    try:
        return Running(**read_json_object(folder / NOTE))
    except (AssistantError, TypeError):
        return None
