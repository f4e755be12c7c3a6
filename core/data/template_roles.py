"""Conversations for templates that know fewer roles or orders than a conversation may have.

Gemma's template refuses a system message, Mistral's first ones left it out in silence, and both refuse two turns of
the user in a row, as they stand after an answer that was stopped before its first word.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Turn = Mapping[str, Any]
BETWEEN = "\n\n"


def without_system(messages: Sequence[Turn]) -> list[Turn]:
    """The conversation with what its first message, the system's, says put before the first turn of the user."""
    system, *rest = messages
    if rest and rest[0]["role"] == "user":
        return [_joined(system, rest[0]), *rest[1:]]
    return [{**system, "role": "user"}, *rest]


def with_merged_turns(messages: Sequence[Turn]) -> list[Turn]:
    """The conversation with turns of the user that follow one another as one."""
    merged: list[Turn] = []
    for message in messages:
        if merged and message["role"] == merged[-1]["role"] == "user":
            merged[-1] = _joined(merged[-1], message)
        else:
            merged.append(message)
    return merged


def has_repeated_turns(messages: Sequence[Turn]) -> bool:
    """Whether two turns of the user follow one another."""
    return len(with_merged_turns(messages)) < len(messages)


def moved_indices(before: Sequence[Turn], after: Sequence[Turn]) -> dict[int, int]:
    """Where the assistant's messages of a conversation stand in what became of it: none of them is touched."""
    places = ([index for index, one in enumerate(turns) if one["role"] == "assistant"] for turns in (before, after))
    return dict(zip(*places, strict=True))


def _joined(first: Turn, second: Turn) -> Turn:
    texts = [text for text in (first["content"], second["content"]) if text]
    return {**second, "content": BETWEEN.join(texts)}
