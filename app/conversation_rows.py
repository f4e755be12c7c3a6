"""What the store of conversations gives and takes: conversations, their messages, what a search finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypedDict
from unicodedata import east_asian_width

from app.preference_rows import Origin

TITLE_WIDTH = 48  # of a letter; a Chinese character is twice as wide
MAX_TITLE_CHARS, MAX_FOLDER_CHARS = 200, 60


class State(StrEnum):
    """How far an answer came."""

    COMPLETE = "complete"
    PARTIAL = "partial"  # it is being written
    INTERRUPTED = "interrupted"  # the program or the browser ended before it did


class Kind(StrEnum):
    """What a message is beside a part of what was said."""

    SAID = "said"
    NOTICE = "notice"  # an error: the model is not told of it, nor of the question before it
    REFUSAL = "refusal"  # the documents do not answer


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; `leaf` is the message that the shown path ends with."""

    id: str
    title: str
    created: float  # seconds since 1970, as `updated`
    updated: float
    pinned: bool = False
    folder: str = ""
    persona: str = ""
    collections: tuple[str, ...] = ()
    leaf: int | None = None
    deleted: float | None = None  # since when it is in the trash

    @property
    def is_temporary(self) -> bool:
        return is_temporary(self.id)


@dataclass(frozen=True, slots=True)
class Said:
    """What a message holds. `origin` is whose an answer is that was made of the conversation alone, else None."""

    content: str
    kind: Kind = Kind.SAID
    origin: Origin | None = None
    sources: str = ""  # Markdown: the passages of documents that an answer was written from
    details: Mapping[str, Any] = field(default_factory=dict)  # kept as they are given


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the tree, and which version of how many it is, from 1: versions have the same parent."""

    id: int
    parent_id: int | None
    role: str
    said: Said
    state: State
    created: float
    version: int
    num_versions: int

    @property
    def content(self) -> str:
        return self.said.content

    @property
    def is_notice(self) -> bool:
        return self.said.kind is Kind.NOTICE


@dataclass(frozen=True, slots=True)
class Found:
    """A conversation that a search found, the message in it, None for the title, and the words around."""

    conversation: Conversation
    message_id: int | None
    excerpt: str


class Changes(TypedDict, total=False):
    """What a user changes of a conversation."""

    title: str
    pinned: bool
    folder: str
    persona: str
    collections: Sequence[str]


TEMPORARY = "temporary-"


def is_temporary(conversation_id: str) -> bool:
    """Whether a conversation is never written to disk."""
    return conversation_id.startswith(TEMPORARY)


def turns(path: Sequence[Message]) -> list[dict[str, str]]:
    """What the model is given of a path, without files that are attached."""
    return [turn for _, turn in kept_turns(path)]


def kept_turns(path: Sequence[Message]) -> list[tuple[Message, dict[str, str]]]:
    """Messages as turns: a question that a notice answers is no part of what was said, nor is the notice."""
    given: list[tuple[Message, dict[str, str]]] = []
    for message in path:
        if not message.is_notice:
            given.append((message, {"role": message.role, "content": message.content}))
        elif given and given[-1][0].role == "user":
            given.pop()
    return given


def title_of(text: str) -> str:
    """The first words of a text, as a title."""
    line = " ".join(text.split())
    width, end = 0, 0
    for end, character in enumerate(line):  # noqa: B007 - where it stops is what is wanted
        width += 2 if east_asian_width(character) in "WF" else 1
        if width > TITLE_WIDTH:
            break
    else:
        return line
    words = line[:end]
    cut = words.rfind(" ")
    return f"{words[:cut] if cut > end // 2 else words}…"
