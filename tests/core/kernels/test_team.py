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
    before = set(threading.enumerate())
    team = Team(4)
    own = set(threading.enumerate()) - before
    assert len(own) == 3
    del team
    for thread in own:
        thread.join(20)
        assert not thread.is_alive()
