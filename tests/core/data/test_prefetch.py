import threading
import time
from itertools import count

import pytest

from core.data.prefetch import ITEMS_AHEAD, Prefetch
from core.errors import DataError


def slowly(number: int) -> int:
    time.sleep(0.02)
    return number * number


def test_items_come_in_the_order_of_their_keys() -> None:
    with Prefetch(lambda number: number * number, range(40)) as items:
        assert [items.take() for _ in range(40)] == [number * number for number in range(40)]
        with pytest.raises(StopIteration):
            items.take()


def test_items_are_made_while_the_taker_works_and_no_more_than_a_few() -> None:
    made: list[int] = []
    with Prefetch(made.append, count()) as items:
        items.take()
        deadline = time.monotonic() + 10
        while len(made) < 1 + ITEMS_AHEAD and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert made == list(range(1 + ITEMS_AHEAD))


def test_the_time_waited_is_told() -> None:
    with Prefetch(slowly, range(4)) as items:
        items.take()
        assert items.wait_s >= 0.015
        time.sleep(0.2)
        items.take()
        assert items.wait_s < 0.015


def test_an_error_comes_out_where_its_item_is_taken() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise DataError("shard-00000.tokens.bin, document 7 is damaged.", "Prepare the data again.")
        return number

    with Prefetch(make, range(9)) as items:
        assert [items.take(), items.take()] == [0, 1]
        with pytest.raises(DataError, match="document 7"):
            items.take()


def test_leaving_the_block_ends_the_thread() -> None:
    before = threading.active_count()
    with Prefetch(slowly, count()) as items:
        items.take()
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
