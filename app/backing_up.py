"""A backup as the page sees it: made in a thread, kept until the next one or the next start, and fetched from there."""

import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from app.archive import back_up
from core.errors import AssistantError, BusyError

FOLDER = "backup"


@dataclass(frozen=True, slots=True)
class Made:
    """How far it is, in bytes that were read; `path` is where it lies at the end, `error` why it does not."""

    done_bytes: int = 0
    total_bytes: int = 0
    path: Path | None = None
    error: AssistantError | None = None

    @property
    def is_ended(self) -> bool:
        return self.path is not None or self.error is not None


class Backup:
    """The one that is being made, or the last one. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder / FOLDER, threading.Lock()
        self.state: Made | None = None
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def is_active(self) -> bool:
        return self.state is not None and not self.state.is_ended

    def begin(self) -> None:
        """Make one. Raises BusyError while one is being made."""
        with self._lock:
            if self.is_active:
                raise BusyError("A backup is being made already.", "Wait for it.")
            self.state = Made()
        threading.Thread(target=self._run, name="backup", daemon=True).start()

    def _run(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700, parents=True)
        path = self._folder / f"astrai-{time.strftime('%Y%m%d-%H%M%S')}.zip"
        try:
            back_up(path, self._tell)
        except AssistantError as exc:
            self.state = Made(error=exc)
        else:
            self.state = replace(self.state or Made(), path=path)

    def _tell(self, done: int, total: int) -> None:
        self.state = Made(done, total)
