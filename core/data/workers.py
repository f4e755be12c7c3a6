"""A pool of processes that maps batches in order, ends with its parent and never hangs on a lost process."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self, TypeVar

from core.errors import SetupError

BATCHES_AHEAD_PER_WORKER = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """`map` over `count` processes; over none for 1. Leaving the block ends the processes at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[multiprocessing.process.BaseProcess] = set()

    def __enter__(self) -> Self:
        if self._count > 1:
            self._others = set(multiprocessing.active_children())
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, context, _start_worker)
            _start_deaf(self._pool)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            processes = set(multiprocessing.active_children()) - self._others
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()

    def map(self, work: Callable[[list[Item]], Result], batches: Iterable[list[Item]]) -> Iterator[Result]:
        """Results in the order of the batches, of which a bounded number is under way.

        Raises SetupError when the system ends one of the processes.
        """
        if self._pool is None:
            yield from map(work, batches)
            return
        pending: deque[Future[Result]] = deque()
        try:
            for batch in batches:
                if len(pending) == self._count * BATCHES_AHEAD_PER_WORKER:
                    yield pending.popleft().result()
                pending.append(self._pool.submit(work, batch))
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool as exc:
            raise SetupError(
                "One of {count} worker processes was ended by the system, most often for lack of memory.",
                "Close other programs, or use fewer with --workers.",
                count=self._count,
            ) from exc


def _start_deaf(pool: ProcessPoolExecutor) -> None:
    """Start the processes deaf to Ctrl-C, which a terminal sends to them too: only the parent answers it."""
    is_main = threading.current_thread() is threading.main_thread()
    earlier = signal.signal(signal.SIGINT, signal.SIG_IGN) if is_main else None
    try:
        pool.submit(os.getpid)  # the first task starts them all
    finally:
        if is_main:
            signal.signal(signal.SIGINT, earlier)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
