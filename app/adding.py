"""Adding a model from this disk, as the page sees it: one at a time, in a child, with a way to stop it."""

import json
import logging
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.paths import ADDING_SUFFIX, ROOT, models_dir
from core.errors import AssistantError, BusyError, ModelError

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "app", "add", "--json")


@dataclass(frozen=True, slots=True)
class Addition:
    """How far it is; `path` is where it lies at the end, `error` why it does not."""

    source: str
    done_bytes: int = 0
    total_bytes: int = 0
    is_checking: bool = False
    path: str = ""
    error: AssistantError | None = None
    is_ended: bool = False


class Adding:
    """The one addition under way, or the last one. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._is_cancelled = False
        self.state: Addition | None = None

    @property
    def is_active(self) -> bool:
        return self.state is not None and not self.state.is_ended

    def begin(self, source: str, *, upload: Path | None = None) -> None:
        """Add a model, out of the folder of an `upload`, which is gone afterwards.

        Raises BusyError while another one is being added.
        """
        with self._lock:
            if self.is_active:
                raise BusyError("Another model is being added.", "Wait for it, or cancel it.")
            self.state, self._is_cancelled = Addition(source), False
            self._thread = threading.Thread(target=self._run, args=(source, upload), name="adding a model", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Stop, and delete the half copy."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.kill()

    def forget(self) -> None:
        """Show nothing of the last one any more."""
        if not self.is_active:
            self.state = None

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, source: str, upload: Path | None) -> None:
        error: AssistantError | None = None
        try:
            error = self._listen(source, moves=upload is not None)
        except Exception as exc:
            logger.exception("adding %s", source)
            error = ModelError(
                "The model could not be added ({found}).", "The log file tells more.", found=type(exc).__name__
            )
        for half in models_dir().glob(f".*{ADDING_SUFFIX}"):
            shutil.rmtree(half, ignore_errors=True)
        if upload is not None:
            shutil.rmtree(upload, ignore_errors=True)
        with self._lock:
            assert self.state is not None
            self._process = None
            if self._is_cancelled:
                self.state = None
            else:
                self.state = replace(self.state, is_ended=True, error=self.state.error or error)

    def _listen(self, source: str, *, moves: bool) -> AssistantError | None:
        """Follow the child to its end; what is wrong where it ended without a word of its own."""
        command = [*COMMAND, *(["--move"] if moves else []), "--", source]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            with self._lock:
                self._process = child
                if self._is_cancelled:
                    child.kill()
            assert child.stdout is not None
            for line in child.stdout:
                self._hear(line)
            status = child.wait()
        is_told = self.state is not None and (self.state.path or self.state.error)
        if is_told:
            return None
        return ModelError(
            "The model broke the program that checks it (status {status}).", "Do not trust it.", status=status
        )

    def _hear(self, line: str) -> None:
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            return
        error = None
        if told := event.get("error"):
            error = ModelError.from_dict(told)
        with self._lock:
            assert self.state is not None
            self.state = replace(
                self.state,
                done_bytes=event.get("done", self.state.done_bytes),
                total_bytes=event.get("total", self.state.total_bytes),
                is_checking=bool(event.get("checking")) or self.state.is_checking,
                path=event.get("path", self.state.path),
                error=error or self.state.error,
            )
