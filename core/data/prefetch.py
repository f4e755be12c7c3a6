"""The next items made ahead by a thread, so that who takes them does not wait."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

Key = TypeVar("Key")
Item = TypeVar("Item")

ITEMS_AHEAD = 2


class Prefetch(Generic[Key, Item]):
    """`make(key)` for each key in order, made by one thread before it is asked for.

    Leaving the block ends the thread after the item that it is making; the rest is dropped.
    """

    def __init__(self, make: Callable[[Key], Item], keys: Iterable[Key]) -> None:
        self.wait_s = 0.0  # how long the last `take` waited
        self._make, self._keys = make, iter(keys)
        self._pending: deque[Future[Item]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")

    def take(self) -> Item:
        """The next item. Raises what `make` raised for it, and StopIteration after the last key."""
        started = time.perf_counter()
        missing = 1 + ITEMS_AHEAD - len(self._pending)
        self._pending.extend(self._thread.submit(self._make, key) for key in islice(self._keys, missing))
        if not self._pending:
            raise StopIteration
        item = self._pending.popleft().result()
        self.wait_s = time.perf_counter() - started
        return item

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
