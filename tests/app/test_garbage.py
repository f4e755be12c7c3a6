"""When Python searches for garbage, and what it leaves out."""

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

from app import garbage


class Node:
    """Something that can refer to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def searches_as_before() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


@pytest.mark.parametrize("end", [garbage.set_aside, garbage.resume])
def test_nothing_is_searched_while_paused(end: Callable[[], None]) -> None:
    garbage.pause()
    assert not gc.isenabled()
    end()
    assert gc.isenabled()


def test_what_stands_is_left_out_of_searches() -> None:
    node = Node()
    garbage.set_aside()
    assert gc.get_freeze_count() > 0
    left = weakref.ref(node)
    del node
    gc.collect()
    assert left() is not None
