"""A user's wish to stop: SIGINT and SIGTERM, a file that appears, or a call."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

from core.parallel.launch import STOP_FILE

logger = logging.getLogger(__name__)


class StopSignal:
    """Turns SIGINT and SIGTERM into an orderly end after the current step.

    A second signal ends the process at once. Outside the main thread signals are left alone.
    Where a launcher has named a file (STOP_FILE), its being there is the same wish, on every system.
    """

    def __init__(self, report: Callable[[dict[str, Any]], None] | None = None) -> None:
        """`report` is told {"stopping": True} when the first signal comes."""
        self._report = report
        self._event = threading.Event()
        self._file = Path(os.environ[STOP_FILE]) if os.environ.get(STOP_FILE) else None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def is_set(self) -> bool:
        return self._event.is_set() or (self._file is not None and self._file.exists())

    def request(self) -> None:
        self._event.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()
        if self._report:
            self._report({"stopping": True})
        else:
            logger.warning("stopping after this step; again to stop at once")
