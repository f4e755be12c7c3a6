"""A model that says scripted pieces at a fixed rate, so that what is tested is the server alone; and its web server."""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from app.web_server import web_config
from core.errors import BusyError, ContextLengthError
from core.inference.protocols import Citation
from core.inference.sampling import Choice
from core.inference.token_stream import GenerationStats, Piece

WORD = "word "


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The address of a web server in a thread."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    server = uvicorn.Server(web_config(app, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


class FakeTokenizer:
    """Its token n is the character n."""

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode() if token >= 0 else b"\xe4\xbd"


class FakeStream:
    """Gives pieces, `step_s` apart, then does what `end` does."""

    citations: Sequence[Citation] | None = None
    in_reasoning = False

    def __init__(self, model: "FakeModel", pieces: Sequence[Piece]) -> None:
        self._model, self._pieces = model, pieces
        self.finish_reason: str | None = None
        self.num_given = 0
        self._cancelled = threading.Event()

    @property
    def stats(self) -> GenerationStats:
        return GenerationStats(2, 1, self.num_given, 0.1, 1.0, 2 + self.num_given, 100)

    def cancel(self) -> None:
        self._cancelled.set()

    def pieces(self) -> Iterator[Piece]:
        try:
            for piece in self._pieces:
                if self._cancelled.wait(self._model.step_s):
                    self.finish_reason = "cancelled"
                    return
                self.num_given += 1
                self._model.num_steps += 1
                yield piece
            self._model.end()
            self.finish_reason = "stop"
        finally:
            self._model.leave(self)


class FakeModel:
    """As LanguageModel is to the server. At most `room` streams at once."""

    name, max_seq_len = "fake", 100
    tokenizer = FakeTokenizer()
    adapters: Sequence[str] = ()

    def __init__(
        self, *pieces: Piece | str, step_s: float = 0, room: int = 1000, end: Callable[[], None] = lambda: None
    ) -> None:
        """Without pieces it says as many words as it is asked for."""
        self._script = [piece if isinstance(piece, Piece) else Piece(piece, ()) for piece in pieces]
        self.step_s, self.room, self.end = step_s, room, end
        self.num_steps = 0
        self.asked: list[dict[str, Any]] = []
        self.streams: list[FakeStream] = []
        self._lock = threading.Lock()

    def chat(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> FakeStream:
        return self._start({"messages": messages, **options}, options)

    def stream(self, prompt: str | list[int], **options: Any) -> FakeStream:
        return self._start({"prompt": prompt, **options}, options)

    def leave(self, stream: FakeStream) -> None:
        with self._lock:
            self.streams.remove(stream)

    def _start(self, asked: dict[str, Any], options: Mapping[str, Any]) -> FakeStream:
        text = str(asked.get("messages", asked.get("prompt")))
        if "too long" in text:
            raise ContextLengthError(f"The conversation is {len(text)} tokens, the model's context is 100.", "Shorten.")
        pieces = self._script or [Piece(WORD, (Choice(ord("w"), -0.5),))] * options["max_new_tokens"]
        stream = FakeStream(self, pieces)
        with self._lock:
            if len(self.streams) >= self.room:
                raise BusyError(f"{self.room} requests wait already.", "Try again soon.")
            self.asked.append(asked)
            self.streams.append(stream)
        return stream
