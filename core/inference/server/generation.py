"""Generations as the event loop sees them: read by worker threads, awaited piece by piece, cancelled at once.

A worker encodes the prompt, waits for the engine and hands each piece over, so neither a long prompt nor a slow
model holds up the loop. A worker waits while a few pieces are not taken yet, so a fast model does not flood the
loop, and what a client does not read stays in the engine's stream; the web server leaves such a client after a while.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from core.errors import AssistantError
from core.inference.openai_error import SERVER_ERROR, RequestError, as_start_error
from core.inference.protocols import TextStream

if TYPE_CHECKING:
    from core.inference.token_stream import Piece

MAX_UNREAD = 16
# Encoding is work for Python: with more threads at it, the loop would wait for its turn behind each of them.
MAX_ENCODING = 2

Start = Callable[[], TextStream]
Arrive = Callable[["Piece | None"], None]


class Workers:
    """Threads that wait for the engine, one for each answer; few of them work at a time."""

    def __init__(self, count: int) -> None:
        self.threads = ThreadPoolExecutor(count, thread_name_prefix="answer")
        self.encoding = threading.Semaphore(MAX_ENCODING)


class Generation:
    """One answer under way. Make it on the event loop; `arrive` gets its pieces there, and None at its end."""

    def __init__(self, start: Start, workers: Workers, arrive: Arrive) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrive = arrive
        self._stream: TextStream | None = None
        self._is_cancelled = False
        self._room = threading.Semaphore(MAX_UNREAD)
        self._begun = asyncio.Event()
        self._asked_at = time.perf_counter()
        self._first_at: float | None = None
        self._ended_at: float | None = None
        self._encoding = workers.encoding
        self._work = self._loop.run_in_executor(workers.threads, self._read, start)
        self._work.add_done_callback(self._finish)

    @property
    def stream(self) -> TextStream:
        """The answer's source, once it has started."""
        assert self._stream is not None
        return self._stream

    @property
    def is_running(self) -> bool:
        """Whether its first piece is there and its last is not."""
        return self._first_at is not None and self._ended_at is None

    @property
    def is_queued(self) -> bool:
        """Whether it waits for its first piece."""
        return self._first_at is None and self._ended_at is None

    @property
    def has_started(self) -> bool:
        """Whether its prompt was accepted."""
        return self._stream is not None

    @property
    def time_to_first_token_s(self) -> float | None:
        """From the request to the first piece; None while there is none."""
        return None if self._first_at is None else self._first_at - self._asked_at

    @property
    def time_per_token_s(self) -> float | None:
        """The mean time between two tokens; None for an answer of fewer than two."""
        num_gaps = self.stream.stats.completion_tokens - 1
        if self._first_at is None or self._ended_at is None or num_gaps < 1:
            return None
        return (self._ended_at - self._first_at) / num_gaps

    def cancel(self) -> None:
        """End it within one step, wherever it is."""
        self._is_cancelled = True
        if self._stream is not None:
            self._stream.cancel()
        self._room.release()

    def taken(self) -> None:
        """Say that a piece was read, so that one more may come."""
        self._room.release()

    async def started(self) -> None:
        """Wait until the prompt is encoded and accepted. Raises RequestError when it is not."""
        await self._begun.wait()
        if self._stream is None:
            await self._work

    async def finish_reason(self) -> str:
        """Wait for the end. Raises what the generation raised, RequestError when it was cancelled."""
        await self._work
        reason = self.stream.finish_reason
        if reason not in ("stop", "length"):
            raise RequestError("The server is stopping.", status=503, kind=SERVER_ERROR, code="cancelled")
        return reason

    async def settled(self) -> None:
        """Wait until the worker is free again. What the generation raised is for its reader."""
        await asyncio.wait([self._work])

    def _read(self, start: Start) -> None:
        """The worker: everything here runs in its thread."""
        with self._encoding:
            if self._is_cancelled:
                raise RequestError("The client left.", status=503, kind=SERVER_ERROR, code="cancelled")
            try:
                stream = start()
            except AssistantError as exc:
                raise as_start_error(exc) from exc
        self._stream = stream
        if self._is_cancelled:
            stream.cancel()
        self._loop.call_soon_threadsafe(self._begun.set)
        for piece in stream.pieces():
            self._room.acquire()
            if self._is_cancelled:
                self._room.release()  # for the next piece, which nobody takes either
            else:
                self._loop.call_soon_threadsafe(self._take, piece)

    def _take(self, piece: "Piece") -> None:
        if self._first_at is None:
            self._first_at = time.perf_counter()
        self._arrive(piece)

    def _finish(self, work: asyncio.Future[None]) -> None:
        self._ended_at = time.perf_counter()
        self._begun.set()
        self._arrive(None)
        if not work.cancelled():
            work.exception()  # seen: its reader gets it from `finish_reason`, if there still is one


class Answers:
    """The generations of one request, whose pieces come in the order in which they are made."""

    def __init__(self, starts: Sequence[Start], workers: Workers) -> None:
        self._arrivals: asyncio.Queue[tuple[int, Piece | None]] = asyncio.Queue()
        self.generations = [
            Generation(start, workers, lambda piece, index=index: self._arrivals.put_nowait((index, piece)))  # type: ignore[misc]
            for index, start in enumerate(starts)
        ]

    async def started(self) -> None:
        """Wait until every prompt is accepted. Raises RequestError when one is not."""
        for generation in self.generations:
            await generation.started()

    async def pieces(self) -> "AsyncGenerator[tuple[int, Piece | str], None]":
        """Index of the answer and a piece of it, or at its end the reason. Raises what a generation raised."""
        num_open = len(self.generations)
        while num_open:
            index, piece = await self._arrivals.get()
            if piece is None:
                num_open -= 1
                yield index, await self.generations[index].finish_reason()
            else:
                self.generations[index].taken()
                yield index, piece

    def cancel(self) -> None:
        """End all of them within one step."""
        for generation in self.generations:
            generation.cancel()
