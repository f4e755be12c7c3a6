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
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number, tasks in enumerate(self._tasks, start=1):
            threading.Thread(target=_work, args=(number, tasks, self._done), name="kernel", daemon=True).start()
        self.close = weakref.finalize(self, _dismiss, self._tasks)

    def run(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call function(*arguments, number) in each thread, number from 0. It must not raise."""
        for tasks in self._tasks:
            tasks.put((function, arguments))
        function(*arguments, 0)
        for _ in self._tasks:
            self._done.get()


def _work(number: int, tasks: "queue.SimpleQueue[Task | None]", done: "queue.SimpleQueue[None]") -> None:
    while (task := tasks.get()) is not None:
        function, arguments = task
        function(*arguments, number)
        done.put(None)


def _dismiss(all_tasks: "list[queue.SimpleQueue[Task | None]]") -> None:
    for tasks in all_tasks:
        tasks.put(None)
