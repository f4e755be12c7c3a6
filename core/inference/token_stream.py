"""The text of one reply, as it is generated.

The engine's thread pushes tokens into a `Reply`, which turns them into pieces of text and finds stop strings;
a reader takes the pieces from its `TokenStream`, at its own pace. A stream that nobody holds is cancelled.
"""

import queue
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.data.chat_template import overlap
from core.data.tokenizer import StreamDecoder
from core.inference.engine import Engine
from core.inference.request import STOP, Request
from core.inference.sampling import Choice


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of the text, and the tokens that ended in it."""

    text: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a reply cost. `tokens_per_s` is of decoding, after the first token, which is counted from the asking.

    Of `drafted_tokens`, looked up in the text, the model confirmed `accepted_tokens`.
    """

    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    time_to_first_token_s: float
    tokens_per_s: float
    context_tokens: int
    max_seq_len: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0


class Reply:
    """Receives the tokens of one request, on the engine's thread."""

    def __init__(
        self, decoder: StreamDecoder, stops: Sequence[str], remember: Callable[[str, list[int]], None] | None = None
    ) -> None:
        """`remember` is told text and ids of a reply that no stop string cut."""
        self.finish_reason: str | None = None
        self.pieces: queue.SimpleQueue[Piece | BaseException | None] = queue.SimpleQueue()
        self._decoder, self._held, self._remember = decoder, _StopStrings(stops), remember
        self._choices: list[Choice] = []
        self._text: list[str] = []
        self._ids: list[int] = []

    def push(self, choice: Choice) -> bool:
        """See Receiver."""
        self._choices.append(choice)
        self._ids.append(choice.token)
        text = self._held.push(self._decoder.push(choice.token))
        if text:
            self._put(text)
        return self._held.found

    def end(self, reason: str) -> None:
        """See Receiver."""
        if not self._held.found:
            rest = self._held.push(self._decoder.flush())
            if self._held.found:  # its last character was the unfinished one
                reason = STOP
            self._put(rest + self._held.flush())
        else:
            self._put("")
        if self._remember is not None and not self._held.found:
            self._remember("".join(self._text), self._ids)
        self.finish_reason = reason
        self.pieces.put(None)

    def fail(self, error: BaseException) -> None:
        """See Receiver."""
        self.pieces.put(error)

    def _put(self, text: str) -> None:
        if text or self._choices:
            self.pieces.put(Piece(text, tuple(self._choices)))
            self._text.append(text)
            self._choices.clear()


class TokenStream:
    """A reader's side of a reply. Iterating it to the end fills `finish_reason`: stop, length or cancelled."""

    def __init__(self, engine: Engine, request: Request, reply: Reply, *, in_reasoning: bool = False) -> None:
        """Queue the request, whose prompt `in_reasoning` says ends in an open <think>.

        Raises GenerationError when it does not fit the context, BusyError when too many wait.
        """
        self.text, self.in_reasoning, self._is_read = "", in_reasoning, False
        self._engine, self._request, self._reply = engine, request, reply
        engine.submit(request)
        weakref.finalize(self, request.cancelled.set).atexit = False

    @property
    def finish_reason(self) -> str | None:
        return self._reply.finish_reason

    @property
    def prompt_ids(self) -> Sequence[int]:
        """What the model is given, all of it."""
        return self._request.prompt_ids

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text. Raises what the engine raised; leaving early cancels."""
        for piece in self.pieces():
            if piece.text:
                yield piece.text

    def pieces(self) -> Iterator[Piece]:
        """Yield the text with its tokens; the last piece may have tokens only."""
        try:
            while not self._is_read and (piece := self._reply.pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    self._is_read = True  # nothing more comes: who reads on must not wait for it
                    raise piece
                self.text += piece.text
                yield piece
            self._is_read = True
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop within one step. Safe from any thread and after the end."""
        self._request.cancelled.set()

    def read(self) -> str:
        """Wait for the whole text."""
        for _ in self:
            pass
        return self.text

    @property
    def stats(self) -> GenerationStats:
        """Counts and speeds so far."""
        timings = self._request.timings
        decoded = timings.completion_tokens - 1
        return GenerationStats(
            prompt_tokens=timings.prompt_tokens,
            reused_tokens=timings.reused_tokens,
            completion_tokens=timings.completion_tokens,
            time_to_first_token_s=timings.time_to_first_token_s,
            tokens_per_s=decoded / timings.decode_s if decoded > 0 and timings.decode_s > 0 else 0.0,
            context_tokens=timings.prompt_tokens + timings.completion_tokens,
            max_seq_len=self._engine.max_seq_len,
            drafted_tokens=timings.drafted_tokens,
            accepted_tokens=timings.accepted_tokens,
        )


class _StopStrings:
    """Holds back text that may be the beginning of a stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Text that is safe to show; nothing from a stop string on."""
        self._held += text
        hits = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if hits:
            self.found = True
            shown, self._held = self._held[: min(hits)], ""
            return shown
        keep = max((overlap(self._held, stop, len(stop) - 1) for stop in self._stops), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        shown, self._held = self._held, ""
        return shown
