"""Threads that run one function together."""

import threading
import time

import pytest

from core.kernels.team import Team


@pytest.mark.parametrize("thread", [0, 2])
def test_an_error_of_any_thread_is_raised_when_all_are_done(thread: int) -> None:
    team = Team(3)
    done: list[float] = []

    def work(number: int) -> None:
        time.sleep(0.01 * number)
        done.append(1 / (number - thread))

    with pytest.raises(ZeroDivisionError):
        team.run(work)
    assert len(done) == 2
    done.clear()
    team.run(done.append)
    assert sorted(done) == [0, 1, 2]
    team.close()


def test_the_threads_end_with_the_team() -> None:
    before = threading.active_count()
    team = Team(4)
    assert threading.active_count() == before + 3
    del team
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
