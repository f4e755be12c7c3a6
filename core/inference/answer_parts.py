"""An answer's text as it streams, in parts: content, reasoning and tool calls.

Reasoning stands in `<think>…</think>` where an answer begins, or right after another part; elsewhere the tag is
text that somebody writes about. A chat template may have opened it already. A call is
`<tool_call>{"name": …, "arguments": {…}}</tool_call>`, the form of Hermes and Qwen
(https://github.com/NousResearch/Hermes-Function-Calling); one that does not read as JSON, or names a tool that
was not offered, is content as it stands. Nothing is dropped: the parts' `raw` join to the whole answer.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from core.data.chat_template import overlap
from core.data.tokenizer import THINK_END, THINK_START, TOOL_CALL_END, TOOL_CALL_START

# A longer call is content: it is held back whole until its end.
MAX_CALL_CHARS = 1 << 18


class PartKind(StrEnum):
    CONTENT = "content"
    REASONING = "reasoning"
    TOOL_CALL = "tool_call"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The tool that a model calls; `arguments` is a JSON object, written out."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an answer. `text` is what to show, `raw` the answer's own text, with the tags and spaces around it."""

    kind: PartKind
    text: str
    raw: str
    call: ToolCall | None = None


class AnswerParser:
    """Splits one answer. `push` gives what is certain so far, `flush` the rest."""

    def __init__(self, *, tool_names: Collection[str] = (), in_reasoning: bool = False) -> None:
        """`in_reasoning` says that the prompt ends in an open <think>. Without tools <tool_call> is text."""
        self._tool_names = frozenset(tool_names)
        self._call_tags = (TOOL_CALL_START,) if tool_names else ()
        self._read: Callable[[], Part | None] = self._reasoning if in_reasoning else self._edge
        self._hides_spaces = in_reasoning  # right after a tag
        self._held = ""
        self._searched = 0
        self._is_last = False

    def push(self, text: str) -> list[Part]:
        """Parts that this text completes."""
        self._held += text
        return list(self._parts())

    def flush(self) -> list[Part]:
        """What was held back, at the answer's end. A call without its closing tag counts if it is whole."""
        self._is_last = True
        return list(self._parts())

    def _parts(self) -> Iterator[Part]:
        while self._held and (part := self._read()):
            if part.raw:
                yield part

    def _edge(self) -> Part | None:
        """Where a part may begin: spaces, then perhaps a tag."""
        text = self._held.lstrip()
        spaces = len(self._held) - len(text)
        tags = (THINK_START, *self._call_tags)
        if not self._is_last and any(tag.startswith(text) and tag != text for tag in tags):
            return None
        if text.startswith(THINK_START):
            self._read, self._hides_spaces = self._reasoning, True
            return self._take(PartKind.REASONING, spaces + len(THINK_START), is_shown=False)
        is_call = text.startswith(tags)
        self._read = self._call if is_call else self._content
        return self._take(PartKind.CONTENT, spaces, is_shown=not (is_call or self._hides_spaces))

    def _content(self) -> Part | None:
        """Text up to a call, or to what may become one."""
        size = self._size_before(TOOL_CALL_START) if self._call_tags else len(self._held)
        if size == 0 and self._held.startswith(TOOL_CALL_START):
            self._read = self._call
            return self._call()
        return self._take(PartKind.CONTENT, size) if size else None

    def _reasoning(self) -> Part | None:
        """Text up to </think>."""
        if self._hides_spaces:
            spaces = len(self._held) - len(self._held.lstrip())
            if spaces == len(self._held) and not self._is_last:
                return None
            self._hides_spaces = False
            return self._take(PartKind.REASONING, spaces, is_shown=False)
        size = self._size_before(THINK_END)
        if size == 0 and self._held.startswith(THINK_END):
            self._read, self._hides_spaces = self._edge, True
            return self._take(PartKind.REASONING, len(THINK_END), is_shown=False)
        return self._take(PartKind.REASONING, size) if size else None

    def _call(self) -> Part | None:
        """A whole call, held back until its closing tag. One that is none is content, tag by tag."""
        place = self._held.find(TOOL_CALL_END, max(self._searched, len(TOOL_CALL_START)))
        if place < 0 and not self._is_last and len(self._held) <= MAX_CALL_CHARS:
            self._searched = len(self._held) - len(TOOL_CALL_END) + 1
            return None
        end = len(self._held) if place < 0 else place
        size = len(self._held) if place < 0 else place + len(TOOL_CALL_END)
        body = self._held[len(TOOL_CALL_START) : end]
        call = _read_call(body, self._tool_names) if size <= MAX_CALL_CHARS else None
        self._searched = 0
        if call is None:
            self._read = self._content
            return self._take(PartKind.CONTENT, len(TOOL_CALL_START))
        self._read, self._hides_spaces = self._edge, True
        return self._take(PartKind.TOOL_CALL, size, is_shown=False, call=call)

    def _size_before(self, tag: str) -> int:
        """Characters before a tag, or before what may be the beginning of one."""
        place = self._held.find(tag)
        if place >= 0:
            return place
        return len(self._held) - (0 if self._is_last else overlap(self._held, tag, len(tag) - 1))

    def _take(self, kind: PartKind, size: int, *, is_shown: bool = True, call: ToolCall | None = None) -> Part:
        raw, self._held = self._held[:size], self._held[size:]
        return Part(kind, raw if is_shown else "", raw, call)


def _read_call(body: str, tool_names: Collection[str]) -> ToolCall | None:
    """The call that a text spells, if it is one of an offered tool."""
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or value["name"] not in tool_names:
        return None
    arguments = value.get("arguments", {})
    return ToolCall(value["name"], json.dumps(arguments, ensure_ascii=False)) if isinstance(arguments, dict) else None


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)
