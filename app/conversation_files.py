"""Conversations as files: JSON with every version, Markdown for people, JSON lines for training; and back in.

What comes in was written by anybody: it is bounded, every field is checked, and nothing of it is believed to be the
model's own unless it says so as our own files do.
"""

import io
import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from app.conversation_rows import Conversation, Kind, Message, Said, State, title_of, turns
from app.conversation_sql import storable
from app.conversations import Conversations
from app.preference_rows import Origin
from core.data.formats import Chat, UnrecognisedError, recognise
from core.errors import DataError

FORMAT, VERSION = "astrai-conversations", 1
MAX_FILE_BYTES = 64 * 2**20
MAX_MESSAGES, MAX_MESSAGE_CHARS = 50_000, 2_000_000
# In Markdown a line of this form begins each message; one that was written in a message has a backslash before it.
_MARK = re.compile(r"^<!-- message: (user|assistant) -->$", re.MULTILINE)
_WRITTEN_MARK = re.compile(r"^(\\*<!-- message: )", re.MULTILINE)
_ESCAPED_MARK = re.compile(r"^\\(\\*<!-- message: )", re.MULTILINE)
_TYPES = {".json": "json", ".jsonl": "jsonl", ".md": "md", ".markdown": "md"}


def to_json(conversations: Conversations, ids: Iterable[str]) -> str:
    """Conversations whole, as `read` takes them back. Raises: DataError for one that is not there."""
    rows = [_to_row(conversations.get(id_), conversations.tree(id_)) for id_ in ids]
    value = {"format": FORMAT, "version": VERSION, "conversations": rows}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def to_markdown(conversation: Conversation, path: Sequence[Message]) -> str:
    """The shown path, for people."""
    names = {"user": "You", "assistant": "AstrAI"}
    parts = [f"# {conversation.title}\n"]
    for message in path:
        content = _WRITTEN_MARK.sub(r"\\\1", message.content)
        parts.append(f"<!-- message: {message.role} -->\n**{names[message.role]}**\n\n{content}\n")
    return "\n".join(parts)


def to_examples(path: Sequence[Message]) -> str:
    """The shown path as a line for fine-tuning, up to the last answer that the model gave by itself; else nothing.

    An answer from documents ends it: what follows builds on passages that the example does not show.
    """
    end = next((place for place, one in enumerate(path) if _is_foreign(one)), len(path))
    messages = turns([one for one in path[:end] if one.state is State.COMPLETE])
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
    return json.dumps({"messages": messages}, ensure_ascii=False) + "\n" if messages else ""


def read(conversations: Conversations, name: str, content: bytes) -> int:
    """Take the conversations of a file over; how many.

    Raises: DataError for a file that is too large or holds none, naming the first thing that is wrong.
    """
    kind = next((kind for ending, kind in _TYPES.items() if name.lower().endswith(ending)), None)
    if kind is None or len(content) > MAX_FILE_BYTES:
        raise DataError(
            "{name!r} ({size:,} bytes) cannot be read as conversations.",
            "Give .json, .jsonl or .md of at most {most:,} bytes.",
            name=name[:80],
            size=len(content),
            most=MAX_FILE_BYTES,
        )
    try:
        text = content.decode("utf-8-sig")
        found = list({"json": _from_json, "jsonl": _from_lines, "md": _from_markdown}[kind](text))
    except json.JSONDecodeError as exc:
        raise DataError(
            "{name!r} cannot be read as JSON: it is wrong in line {line}, column {column}.",
            "Export it again.",
            name=name[:80],
            line=exc.lineno,
            column=exc.colno,
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise DataError(
            "{name!r} is no file of conversations: {reason}.", "Export it again.", name=name[:80], reason=exc
        ) from exc
    if not found:
        raise DataError("{name!r} holds no conversation.", "Export it again.", name=name[:80])
    for conversation, rows in found:
        conversations.insert(conversation, rows)
    return len(found)


Row = tuple[int | None, Message]


def _to_row(conversation: Conversation, tree: Sequence[Message]) -> dict[str, Any]:
    places = {message.id: place for place, message in enumerate(tree)}
    fields = ("title", "created", "updated", "pinned", "folder", "persona")
    return {
        **{name: getattr(conversation, name) for name in fields},
        "collections": list(conversation.collections),
        "leaf": places.get(conversation.leaf or 0),
        "messages": [
            {
                "parent": places.get(message.parent_id or 0),
                "role": message.role,
                "content": message.content,
                "created": message.created,
                "state": message.state,
                "kind": message.said.kind,
                "origin": asdict(message.said.origin) if message.said.origin else None,
                "sources": message.said.sources,
                "details": dict(message.said.details),
            }
            for message in tree
        ],
    }


def _is_foreign(message: Message) -> bool:
    said = message.said
    return message.role == "assistant" and said.kind is not Kind.NOTICE and said.origin is None


def _from_json(text: str) -> Iterator[tuple[Conversation, list[Row]]]:
    value = json.loads(text)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        yield from _from_examples(value if isinstance(value, list) else [value])
        return
    if value.get("version") != VERSION:
        raise ValueError(f"format {value.get('version')!r:.20} is not {VERSION}")
    for row in _a_list(value.get("conversations"), "conversations"):
        yield _conversation(_an_object(row, "a conversation"))


def _from_lines(text: str) -> Iterator[tuple[Conversation, list[Row]]]:
    def values() -> Iterator[Any]:
        place = 0
        for line in io.StringIO(text):  # not `splitlines`, which ends one at a U+2028 within words
            try:
                if line.strip():
                    yield json.loads(line)
            except json.JSONDecodeError as exc:
                raise json.JSONDecodeError(exc.msg, text, place + exc.pos) from exc
            place += len(line)

    yield from _from_examples(values())


def _from_examples(values: Iterable[Any]) -> Iterator[tuple[Conversation, list[Row]]]:
    """Conversations of other programs, in any spelling that training data has."""
    for number, value in enumerate(values, 1):
        try:
            example = recognise(_an_object(value, f"row {number}"))
        except UnrecognisedError as exc:
            raise ValueError(f"row {number}: {exc}") from exc
        if not isinstance(example, Chat):
            raise ValueError(f"row {number} holds {example.kind} data, not a conversation")  # noqa: TRY004
        yield _line_of(example.messages, "")


def _from_markdown(text: str) -> Iterator[tuple[Conversation, list[Row]]]:
    head, *parts = _MARK.split(text.replace("\r\n", "\n"))
    messages = []
    for role, part in zip(parts[::2], parts[1::2], strict=True):
        name, _, content = part.lstrip("\n").partition("\n\n")
        words = content if re.fullmatch(r"\*\*[^*\n]+\*\*", name) else part.strip("\n")
        messages.append(
            {"role": role, "content": _ESCAPED_MARK.sub(r"\1", words.removesuffix("\n").removesuffix("\n"))}
        )
    if messages:
        title = head.strip().removeprefix("#").strip()
        yield _line_of(messages, title)


def _line_of(messages: Sequence[dict[str, str]], title: str) -> tuple[Conversation, list[Row]]:
    """A conversation without versions; what a system message said is left out."""
    said = [message for message in messages if message["role"] in ("user", "assistant")]
    rows: list[dict[str, Any]] = [
        {"role": one["role"], "content": one["content"], "parent": place - 1 if place else None}
        for place, one in enumerate(said)
    ]
    return _conversation({"title": title, "messages": rows, "leaf": len(rows) - 1})


def _conversation(value: dict[str, Any]) -> tuple[Conversation, list[Row]]:
    messages = _a_list(value.get("messages"), "messages")
    if not messages or len(messages) > MAX_MESSAGES:
        raise ValueError(f"{len(messages):,} messages, of 1 to {MAX_MESSAGES:,}")
    rows = [_message(_an_object(one, f"message {place + 1}"), place) for place, one in enumerate(messages)]
    created, leaf = _a_time(value.get("created")), value.get("leaf")
    names = [name for name in _a_list(value.get("collections", []), "collections") if isinstance(name, str)]
    return Conversation(
        id="",
        title=_a_text(value.get("title", ""), "title") or title_of(rows[0][1].content),
        created=created,
        updated=max(created, _a_time(value.get("updated"))),
        pinned=value.get("pinned") is True,
        folder=_a_text(value.get("folder", ""), "folder"),
        persona=_a_text(value.get("persona", ""), "persona"),
        collections=tuple(map(storable, names)),
        leaf=leaf if type(leaf) is int and 0 <= leaf < len(rows) else len(rows) - 1,
    ), rows


def _message(value: dict[str, Any], place: int) -> Row:
    parent, role, details = value.get("parent"), value.get("role"), value.get("details", {})
    if parent is not None and (type(parent) is not int or not 0 <= parent < place):
        raise ValueError(f"message {place + 1} follows {parent!r:.20}, which is not before it")
    if role not in ("user", "assistant"):
        raise ValueError(f"message {place + 1} has the role {role!r:.20}")
    state = _one_of(State, value.get("state"), State.COMPLETE)
    said = Said(
        content=_a_text(value.get("content"), f"message {place + 1}"),
        kind=_one_of(Kind, value.get("kind"), Kind.SAID),
        origin=Origin.from_dict(value["origin"]) if isinstance(value.get("origin"), dict) else None,
        sources=_a_text(value.get("sources", ""), "sources"),
        details=details if isinstance(details, dict) else {},
    )
    ended = State.INTERRUPTED if state is State.PARTIAL else state
    return parent, Message(0, None, role, said, ended, _a_time(value.get("created")), 1, 1)


def _one_of(kind: Any, value: Any, otherwise: Any) -> Any:
    return kind(value) if isinstance(value, str) and value in list(kind) else otherwise


def _a_list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} are not a list")  # noqa: TRY004 - of a file, not of our own
    return value


def _an_object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no object")  # noqa: TRY004
    return value


def _a_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_MESSAGE_CHARS:
        raise ValueError(f"{name} is no text of at most {MAX_MESSAGE_CHARS:,} characters")
    return storable(value)


def _a_time(value: Any) -> float:
    is_time = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_time and 0 <= value < 2**33 else time.time()
