"""Turns pieces of text into OpenAI's answers, whole or in chunks; both come from the same deltas.

A choice writer takes the pieces of one of the `n` answers; a frame puts choices into the object that is sent.
Sources: https://platform.openai.com/docs/api-reference/chat/object, /chat/streaming and /completions/object.
"""

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

from core.inference.answer_parts import AnswerParser, Part, PartKind
from core.inference.openai_logprobs import ChatLogprobs, TextLogprobs
from core.inference.protocols import Citation

if TYPE_CHECKING:
    from core.inference.sampling import Choice
    from core.inference.token_stream import Piece

Json = dict[str, Any]


class Frame:
    """What the objects of one response have in common: id, time, model."""

    def __init__(self, model: str, *, is_chat: bool) -> None:
        prefix, whole, chunk = (
            ("chatcmpl", "chat.completion", "chat.completion.chunk")
            if is_chat
            else ("cmpl", "text_completion", "text_completion")
        )
        self._head = {"id": f"{prefix}-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}
        self._whole, self._chunk = whole, chunk

    def whole(self, choices: list[Json], usage: Json) -> Json:
        """A response with all its answers."""
        return {**self._head, "object": self._whole, "choices": choices, "usage": usage}

    def chunk(self, choices: list[Json], **more: Any) -> Json:
        """One event of a streamed response."""
        return {**self._head, "object": self._chunk, "choices": choices, **more}


class ChoiceWriter(Protocol):
    """Writes one answer, as choices of chunks and as the choice of a whole response."""

    def opening(self) -> list[Json]:
        """What stands before the first piece."""

    def push(self, piece: "Piece") -> list[Json]:
        """What a piece adds."""

    def end(self, reason: str) -> list[Json]:
        """What was held back, and why the answer ended."""

    def whole(self) -> Json:
        """The answer, after `end`."""


class ChatChoiceWriter:
    """Writes the answer of a chat: content, reasoning and calls of tools."""

    def __init__(
        self, index: int, parser: AnswerParser, logprobs: ChatLogprobs | None, *, max_calls: int | None = None
    ) -> None:
        """Calls beyond `max_calls` are left out; None takes all."""
        self._index, self._parser, self._logprobs = index, parser, logprobs
        self._max_calls = max_calls
        self._texts: dict[str, str] = {"content": "", "reasoning_content": ""}
        self._calls: list[Json] = []
        self._waiting: list[Choice] = []  # tokens whose text the parser still holds
        self._all: list[Choice] = []
        self._reason = ""

    def opening(self) -> list[Json]:
        return [self._choice({"role": "assistant", "content": ""})]

    def push(self, piece: "Piece") -> list[Json]:
        self._waiting += piece.choices
        return self._written(self._parser.push(piece.text))

    def end(self, reason: str) -> list[Json]:
        written = self._written(self._parser.flush())
        if self._waiting and self._logprobs:
            written.append(self._choice({}))
        self._reason = "tool_calls" if self._calls and reason == "stop" else reason
        return [*written, self._choice({}, self._reason)]

    def whole(self) -> Json:
        content = self._texts["content"]
        message: Json = {"role": "assistant", "content": content if content or not self._calls else None}
        message["refusal"] = None
        if self._texts["reasoning_content"]:
            message["reasoning_content"] = self._texts["reasoning_content"]
        if self._calls:
            message["tool_calls"] = [{key: call[key] for key in call if key != "index"} for call in self._calls]
        logprobs = self._logprobs.of(self._all) if self._logprobs else None
        return {"index": self._index, "message": message, "logprobs": logprobs, "finish_reason": self._reason}

    def _written(self, parts: Iterable[Part]) -> list[Json]:
        return [self._choice(self._delta(part)) for part in parts if part.text or self._takes_call(part)]

    def _takes_call(self, part: Part) -> bool:
        return part.call is not None and (self._max_calls is None or len(self._calls) < self._max_calls)

    def _delta(self, part: Part) -> Json:
        if part.call is not None:
            call = {
                "index": len(self._calls),
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": part.call.name, "arguments": part.call.arguments},
            }
            self._calls.append(call)
            return {"tool_calls": [call]}
        field = "reasoning_content" if part.kind is PartKind.REASONING else "content"
        self._texts[field] += part.text
        return {field: part.text}

    def _choice(self, delta: Json, reason: str | None = None) -> Json:
        logprobs = None
        if self._logprobs and self._waiting:
            logprobs = self._logprobs.of(self._waiting)
            self._all += self._waiting
        self._waiting = []
        return {"index": self._index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


class TextChoiceWriter:
    """Writes the continuation of a text."""

    def __init__(self, index: int, logprobs: TextLogprobs | None) -> None:
        self._index, self._logprobs = index, logprobs
        self._text = ""
        self._listed: list[Json] = []
        self._reason = ""

    def opening(self) -> list[Json]:
        return []

    def push(self, piece: "Piece") -> list[Json]:
        self._text += piece.text
        listed = self._logprobs.of(piece.choices) if self._logprobs else None
        if listed:
            self._listed.append(listed)
        return [self._choice(piece.text, listed, None)]

    def end(self, reason: str) -> list[Json]:
        self._reason = reason
        return [self._choice("", None, reason)]

    def whole(self) -> Json:
        return self._choice(self._text, self._joined() if self._logprobs else None, self._reason)

    def _joined(self) -> Json:
        names = ("tokens", "token_logprobs", "text_offset")
        joined: Json = {name: [value for part in self._listed for value in part[name]] for name in names}
        has_top = bool(self._listed) and self._listed[0]["top_logprobs"] is not None
        joined["top_logprobs"] = [top for part in self._listed for top in part["top_logprobs"]] if has_top else None
        return joined

    def _choice(self, text: str, logprobs: Json | None, reason: str | None) -> Json:
        return {"index": self._index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def citations_json(citations: Sequence[Citation]) -> list[Json]:
    """Citations as the response carries them."""
    return [asdict(citation) for citation in citations]
