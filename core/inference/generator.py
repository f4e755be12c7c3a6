"""Text in, text out: a loaded model and the streams of its replies.

`LanguageModel` renders the chat template and owns the engine. `TokenStream` runs one generation in a
thread of its own and gives its text piece by piece; it can be cancelled from any thread.
"""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from core.config.param_config import SamplingConfig
from core.data.chat_template import ChatTemplate, overlap
from core.data.tokenizer import Tokenizer
from core.inference.engine import Engine, Timings
from core.model.transformer import Transformer

Message = Mapping[str, str]
STOP, LENGTH, CANCELLED = "stop", "length", "cancelled"


@dataclass(frozen=True, slots=True)
class GenerationStats:
    """What a reply cost. `tokens_per_s` is of decoding, after the first token."""

    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    time_to_first_token_s: float
    tokens_per_s: float
    context_tokens: int
    max_seq_len: int


class TokenStream:
    """The text of one reply, as it is generated. Iterating it to the end fills `finish_reason`."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, prompt_ids: Sequence[int], sampling: SamplingConfig
    ) -> None:
        """Raises GenerationError when the prompt does not fit the context."""
        engine.check_fits(len(prompt_ids))
        self.text = ""
        self.finish_reason: str | None = None
        self._engine, self._tokenizer, self._prompt_ids, self._sampling = engine, tokenizer, prompt_ids, sampling
        self._timings = Timings(prompt_tokens=len(prompt_ids))
        self._cancelled = threading.Event()
        self._pieces: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[str]:
        """Yield pieces of text. Raises what the engine raised; leaving early cancels."""
        try:
            while (piece := self._pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                self.text += piece
                yield piece
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop within one token. Safe from any thread and after the end."""
        self._cancelled.set()

    def read(self) -> str:
        """Wait for the whole text."""
        for _ in self:
            pass
        return self.text

    @property
    def stats(self) -> GenerationStats:
        """Counts and speeds so far."""
        timings = self._timings
        decoded = timings.completion_tokens - 1
        return GenerationStats(
            prompt_tokens=timings.prompt_tokens,
            reused_tokens=timings.reused_tokens,
            completion_tokens=timings.completion_tokens,
            time_to_first_token_s=timings.time_to_first_token_s,
            tokens_per_s=decoded / timings.decode_s if decoded > 0 and timings.decode_s > 0 else 0.0,
            context_tokens=timings.prompt_tokens + timings.completion_tokens,
            max_seq_len=self._engine.max_seq_len,
        )

    def _run(self) -> None:
        """The thread: engine ids to text pieces, then None. An error travels to the reader."""
        try:
            self.finish_reason = self._generate()
        except BaseException as exc:  # noqa: BLE001 - whatever it is, the reader must learn of it
            self._pieces.put(exc)
        else:
            self._pieces.put(None)

    def _generate(self) -> str:
        decoder = self._tokenizer.stream_decoder()
        held = _StopStrings(self._sampling.stop)
        ids = self._engine.generate(
            self._prompt_ids,
            self._sampling,
            stop_ids=self._tokenizer.stop_ids,
            cancelled=self._cancelled,
            timings=self._timings,
        )
        num_tokens = 0
        for token in ids:
            num_tokens += 1
            self._put(held.push(decoder.push(token)))
            if held.found:
                ids.close()
                return STOP
        self._put(held.push(decoder.flush()))
        self._put(held.flush())
        if self._cancelled.is_set():
            return CANCELLED
        room = self._engine.max_seq_len - len(self._prompt_ids)
        return LENGTH if num_tokens >= min(self._sampling.max_new_tokens, room) else STOP

    def _put(self, text: str) -> None:
        if text:
            self._pieces.put(text)


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


class LanguageModel:
    """A model that is ready to generate. Made by `core.load`."""

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        name: str,
        quantization: str,
        max_seq_len: int,
        sampling: SamplingConfig | None = None,
    ) -> None:
        """`sampling` is what holds where a call says nothing; None is SamplingConfig's own."""
        self.sampling = sampling or SamplingConfig()
        self.name, self.quantization, self.max_seq_len = name, quantization, max_seq_len
        self.model, self.tokenizer = model, tokenizer
        self.config = model.config
        self.num_parameters = model.config.num_parameters
        self.chat_template = ChatTemplate(tokenizer)
        self.engine = Engine(model, max_seq_len=max_seq_len)

    def chat(self, messages: Sequence[Message], **sampling: Any) -> TokenStream:
        """Reply to a conversation of {"role", "content"} messages; see SamplingConfig for the options.

        Raises ConfigError for unknown options, GenerationError when the conversation does not fit.
        """
        prompt_ids = self.chat_template.encode(messages, add_generation_prompt=True)
        return self._stream(prompt_ids, sampling)

    def fitting(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation without its oldest turns, so that a quarter of the context is left for the answer.

        A system message and the last question stay, however long they are.
        """
        kept = list(messages)
        first = int(bool(kept) and kept[0]["role"] == "system")
        room = self.max_seq_len - self.max_seq_len // 4
        while len(kept) - first > 1 and len(self.chat_template.encode(kept, add_generation_prompt=True)) > room:
            del kept[first]
            while len(kept) - first > 1 and kept[first]["role"] != "user":
                del kept[first]
        return kept

    def stream(self, prompt: str, **sampling: Any) -> TokenStream:
        """Continue a plain text."""
        return self._stream([*self.tokenizer.start_ids, *self.tokenizer.encode(prompt)], sampling)

    @overload
    def generate(self, prompt: str, **sampling: Any) -> str: ...

    @overload
    def generate(self, prompt: list[str], **sampling: Any) -> list[str]: ...

    def generate(self, prompt: str | list[str], **sampling: Any) -> str | list[str]:
        """The continuation of one text, or of each in a list, in order."""
        if isinstance(prompt, list):
            return [self.stream(text, **sampling).read() for text in prompt]
        return self.stream(prompt, **sampling).read()

    def _stream(self, prompt_ids: Sequence[int], sampling: Mapping[str, Any]) -> TokenStream:
        return TokenStream(
            self.engine, self.tokenizer, prompt_ids, SamplingConfig.from_dict({**self.sampling.to_dict(), **sampling})
        )
