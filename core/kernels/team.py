"""The threads that run a kernel together. The caller is the first of them."""

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

Task = tuple[Callable[..., Any], tuple[Any, ...]]


class Team:
    """`size` threads; `run` calls one function in all of them and returns when all are done."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._tasks: list[queue.SimpleQueue[Task | None]] = [queue.SimpleQueue() for _ in range(size - 1)]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        for number, tasks in enumerate(self._tasks, start=1):
            threading.Thread(target=_work, args=(number, tasks, self._done), name="kernel", daemon=True).start()
        self.close = weakref.finalize(self, _dismiss, self._tasks)

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call function(*arguments, number) in each thread, number from 0. Raises what one of them raised.

        All are done when it returns or raises: memory that they work in may go. A function whose threads wait for
        each other must fail in all of them, as one that cannot be compiled does, or in none.
        """
        for tasks in self._tasks:
            tasks.put((function, arguments))
        try:
            function(*arguments, 0)
        finally:
            errors = [self._done.get() for _ in self._tasks]
        for error in errors:
            if error is not None:
                raise error


def _work(
    number: int, tasks: "queue.SimpleQueue[Task | None]", done: "queue.SimpleQueue[BaseException | None]"
) -> None:
    while (task := tasks.get()) is not None:
        function, arguments = task
        try:
            function(*arguments, number)
        except BaseException as exc:  # noqa: BLE001 - whoever called must learn of it
            done.put(exc)
        else:
            done.put(None)


def _dismiss(all_tasks: "list[queue.SimpleQueue[Task | None]]") -> None:
    for tasks in all_tasks:
        tasks.put(None)
