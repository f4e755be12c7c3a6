"""A pool that keeps order, tells errors and ends."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator

import pytest

from core.data.workers import BATCHES_AHEAD_PER_WORKER, Workers
from core.errors import SetupError


def slow_sum(batch: list[int]) -> int:
    time.sleep(0.01 * (batch[0] % 3))
    return sum(batch)


def killed(batch: list[int]) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_the_order_of_the_batches(count: int) -> None:
    with Workers(count) as workers:
        assert list(workers.map(slow_sum, ([i, i] for i in range(40)))) == [2 * i for i in range(40)]


def test_batches_are_taken_near_to_the_results() -> None:
    taken = 0

    def batches() -> Iterator[list[int]]:
        nonlocal taken
        for taken in range(1, 1000):
            yield [taken]

    with Workers(2) as workers:
        next(workers.map(slow_sum, batches()))
        assert taken <= 2 * BATCHES_AHEAD_PER_WORKER + 1


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_the_batches_reaches_the_caller_and_the_processes_end(count: int) -> None:
    def batches() -> Iterator[list[int]]:
        yield from ([i] for i in range(20))
        raise KeyError("lost")

    others = set(multiprocessing.active_children())
    with pytest.raises(KeyError, match="lost"), Workers(count) as workers:
        list(workers.map(slow_sum, batches()))
    # They have ended; Python's own list of them follows a moment later, when the pool's thread has noticed too.
    deadline = time.monotonic() + 5
    while set(multiprocessing.active_children()) - others and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(multiprocessing.active_children()) - others


def test_a_process_that_the_system_ends_is_an_error_with_a_remedy() -> None:
    with pytest.raises(SetupError, match=r"One of 2 worker processes was ended.*--workers"), Workers(2) as workers:
        list(workers.map(killed, iter([[1], [2]])))
