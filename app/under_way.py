"""In which conversations an answer is being made, from its question on: each has one at a time.

A question that came meanwhile would stand beside the answer before it, as another version of it.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.errors import BusyError

EXPECTED_S = 10.0  # from a question to the beginning of its answer


class UnderWay:
    """Methods may be called from several threads."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._answering: set[str] = set()
        self._expected: dict[str, float] = {}  # conversation -> until when

    @contextmanager
    def asking(self, conversation: str) -> Iterator[None]:
        """Store a question in this block, and let its answer follow. Raises BusyError while another one is made."""
        with self._condition:
            if conversation in self._answering or time.monotonic() < self._expected.get(conversation, 0.0):
                raise BusyError(
                    "An answer is still being made in this conversation.", "Stop it, or wait until it has ended."
                )
            self._expected[conversation] = float("inf")
        try:
            yield
        except BaseException:
            with self._condition:
                del self._expected[conversation]
            raise
        with self._condition:
            self._expected[conversation] = time.monotonic() + EXPECTED_S

    @contextmanager
    def answering(self, conversation: str, stop: Callable[[], None]) -> Iterator[None]:
        """Make an answer in this block; `stop` ends the one before, which is waited for."""
        with self._condition:
            if conversation in self._answering:
                stop()
                self._condition.wait_for(lambda: conversation not in self._answering)
            self._expected.pop(conversation, None)
            self._answering.add(conversation)
        try:
            yield
        finally:
            with self._condition:
                self._answering.discard(conversation)
                self._condition.notify_all()
