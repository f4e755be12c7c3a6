"""An answer's worker and the event loop that takes from it."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any, cast

from core.inference.server.generation import MAX_UNREAD, Answers, Workers
from core.inference.token_stream import Piece


class FullQueue:
    """A stream whose pieces are all there, so that it gives them even after it is cancelled."""

    in_reasoning, finish_reason, stats = False, "cancelled", cast(Any, None)

    def __init__(self) -> None:
        self.num_given, self.is_stuck = 0, threading.Event()

    def pieces(self) -> Iterator[Piece]:
        for _ in range(5 * MAX_UNREAD):
            self.num_given += 1
            if self.num_given > MAX_UNREAD:
                self.is_stuck.set()
            yield Piece("a", ())

    def cancel(self) -> None:
        """Nothing more would be made."""


def test_a_worker_is_free_again_when_its_client_leaves_without_having_read() -> None:
    stream = FullQueue()

    async def leave() -> None:
        answers = Answers([lambda: stream], Workers(1))
        await answers.started()
        assert await asyncio.to_thread(stream.is_stuck.wait, 20)
        answers.cancel()
        await asyncio.wait_for(answers.generations[0].settled(), 20)

    asyncio.run(leave())
    assert stream.num_given == 5 * MAX_UNREAD
