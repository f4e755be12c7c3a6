"""Tests that measure time run while no other test does: a pytest plugin for the mark `alone`.

Each worker holds a lock of its own during a test; who is alone holds those of all workers. Everyone passes a gate
first, which the one that waits for the others keeps shut, so none of them begins another test meanwhile. The wait is
around the whole test, its limit of time included.
"""

from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock


class Turns:
    """The turns of one worker of several, by locks in a folder that they share."""

    def __init__(self, folder: Path, worker: str, num_workers: int) -> None:
        self._gate = FileLock(folder / "gate.lock")
        self._all = [FileLock(folder / f"gw{number}.lock") for number in range(num_workers)]
        self._own = FileLock(folder / f"{worker}.lock")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        is_alone = item.get_closest_marker("alone") is not None
        with ExitStack() as held:
            with self._gate:
                for lock in self._all if is_alone else [self._own]:
                    held.enter_context(lock)
                if is_alone:
                    return (yield)
            return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Take turns where there are several workers."""
    given = getattr(config, "workerinput", None)
    if given is not None:
        folder = Path(config.option.basetemp).parent  # pytest-xdist gives each worker its own below one that they share
        config.pluginmanager.register(Turns(folder, given["workerid"], given["workercount"]), "turns")
