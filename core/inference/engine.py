"""Requests of token ids in, chosen tokens out: one thread that steps a scheduler.

Any thread submits; the receivers of the requests are called on the engine's own thread, which begins with the
first request and ends with `close`, or when nobody holds the engine any more.
"""

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from core.errors import BusyError, ContextLengthError, GenerationError
from core.inference.request import Request
from core.inference.runner import Runner
from core.inference.scheduler import EngineConfig, Scheduler

logger = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 30.0
T = TypeVar("T")


class Engine:
    """The door to a scheduler for every thread."""

    def __init__(self, runner: Runner, config: EngineConfig) -> None:
        """Raises GenerationError when the runner has too few blocks for one text of max_seq_len."""
        self.config = config
        self.vocab_size = runner.config.vocab_size
        self._loop = _Loop(Scheduler(runner, config))
        self._finalizer = weakref.finalize(self, self._loop.close)

    @property
    def max_seq_len(self) -> int:
        return self.config.max_seq_len

    def check(self, prompt_ids: Sequence[int]) -> None:
        """Raise GenerationError for an empty prompt, ids that the model lacks, or no room for one new token."""
        if not prompt_ids:
            raise GenerationError("The prompt is empty.", "Give at least one token of text.")
        lowest, highest, count = min(prompt_ids), max(prompt_ids), self.vocab_size
        if lowest < 0 or highest >= count:
            raise GenerationError(
                "The prompt holds id {found}, the model has ids 0 … {last}.",
                "Encode the text with the model's own tokenizer.",
                found=lowest if lowest < 0 else highest,
                last=count - 1,
            )
        if len(prompt_ids) >= self.max_seq_len:
            raise ContextLengthError(
                "The conversation is {count} tokens, the model's context is {most}.",
                "Start a new chat or shorten the message.",
                count=len(prompt_ids),
                most=self.max_seq_len,
            )

    def submit(self, request: Request) -> None:
        """Queue a request. Raises GenerationError as `check` does, BusyError when too many wait already."""
        self.check(request.prompt_ids)
        self._loop.submit(request)

    def call(self, function: Callable[[Scheduler], T]) -> T:
        """Run a function on the engine's thread between two steps and give what it returns or raises."""
        return self._loop.call(function)

    @property
    def num_open(self) -> int:
        """How many requests are under way or wait."""
        return self._loop.num_open

    def close(self) -> None:
        """Cancel everything and end the thread. A second call does nothing."""
        self._finalizer()


class _Loop:
    """What the thread runs. It does not know the engine, so that an engine nobody holds can go."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler: Scheduler | None = scheduler
        self._bound = scheduler.config.max_running + scheduler.config.max_waiting
        self._news = threading.Condition()
        self._inbox: deque[Request] = deque()
        self._calls: deque[Callable[[Scheduler], None]] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._process = os.getpid()

    def submit(self, request: Request) -> None:
        self._refuse_fork()
        with self._news:
            self._open_scheduler()
            num_open = self.num_open
            if num_open >= self._bound:
                raise BusyError(
                    "{count} requests are under way or waiting, the most is {most}.", _LATER,
                    count=num_open, most=self._bound,
                )  # fmt: skip
            self._inbox.append(request)
            self._wake()

    @property
    def num_open(self) -> int:
        return len(self._inbox) + (self._scheduler.num_requests if self._scheduler is not None else 0)

    def call(self, function: Callable[[Scheduler], T]) -> T:
        self._refuse_fork()
        future: Future[T] = Future()

        def run(scheduler: Scheduler) -> None:
            try:
                future.set_result(function(scheduler))
            except BaseException as exc:  # noqa: BLE001 - whoever called must learn of it
                future.set_exception(exc)

        with self._news:
            self._open_scheduler()
            self._calls.append(run)
            self._wake()
        return future.result()

    def close(self) -> None:
        with self._news:
            self._is_closed = True
            self._news.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT_S)
        self._scheduler = None

    def _refuse_fork(self) -> None:
        """A fork has the parent's locks and none of its threads: whatever it asked for would never come."""
        if os.getpid() != self._process:
            raise GenerationError("The model was loaded in the process that this one was forked from.", "Load it here.")

    def _open_scheduler(self) -> Scheduler:
        if self._scheduler is None or self._is_closed:
            raise GenerationError("The model was closed.", "Load it again.")
        return self._scheduler

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
            self._thread.start()
        self._news.notify_all()

    def _run(self) -> None:
        scheduler = self._scheduler
        assert scheduler is not None
        while self._take_news(scheduler):
            try:
                scheduler.step()
            except Exception as exc:
                logger.exception("the scheduler failed")
                scheduler.reset(exc)
        scheduler.cancel_all()

    def _take_news(self, scheduler: Scheduler) -> bool:
        """Wait for something to do, take in what came, and say whether to go on."""
        with self._news:
            self._news.wait_for(lambda: self._is_closed or self._inbox or self._calls or scheduler.has_work)
            scheduler.waiting.extend(self._inbox)
            self._inbox.clear()
            calls, self._calls = self._calls, deque()
        for call in calls:
            call(scheduler)
        return not self._is_closed


_LATER = "Try again in a moment, or ask for fewer at once."
