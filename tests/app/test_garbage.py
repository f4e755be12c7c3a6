"""What stands is left out of Python's searches for garbage, and found again when everything is searched."""

import gc
import weakref
from collections.abc import Iterator

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


def test_nothing_is_searched_while_paused() -> None:
    garbage.pause()
    assert not gc.isenabled()
    garbage.set_aside()
    assert gc.isenabled()


def test_what_stands_is_left_out_of_searches() -> None:
    node = Node()
    garbage.set_aside()
    assert gc.get_freeze_count() > 0
    left = weakref.ref(node)
    del node
    gc.collect()
    assert left() is not None
