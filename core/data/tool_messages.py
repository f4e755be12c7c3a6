"""Conversations and tools in OpenAI's form, checked and bounded, as a chat template takes them.

A template sees what transformers' `apply_chat_template` passes: tools as they are, an assistant's calls with
their arguments as an object, a tool's result as the content of role `tool`. Every other field is left out.
Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from core.errors import GenerationError

ROLES = ("system", "user", "assistant", "tool")
MAX_TOOLS = 128  # OpenAI's limit, for the calls of one answer too
MAX_TOOLS_CHARS = 1 << 18
MAX_DEPTH = 64
TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# Words of the forms that templates look up; other keys are text of whoever wrote the tool.
# fmt: off
KNOWN_KEYS = frozenset([
    "role", "content", "reasoning_content", "tool_calls", "tool_call_id", "id", "type", "function", "name",
    "description", "parameters", "arguments", "properties", "required", "items", "enum", "const", "default", "title",
    "format", "minimum", "maximum", "anyOf", "oneOf", "allOf", "$ref", "$defs", "additionalProperties", "nullable",
])
# fmt: on

Message = Mapping[str, Any]
Json = dict[str, Any]


def checked_messages(messages: Sequence[Message]) -> list[Json]:
    """The turns with what a template may see. Raises GenerationError, which names the message at fault."""
    if not messages:
        raise GenerationError("The conversation is empty.", "Give at least one message.")
    return [_checked_message(message, f"Message {number}") for number, message in enumerate(messages, start=1)]


def checked_tools(tools: Sequence[Mapping[str, Any]]) -> list[Json]:
    """The tools with what a template may see. Raises GenerationError, which names the tool at fault."""
    if len(tools) > MAX_TOOLS:
        raise GenerationError(f"There are {len(tools)} tools, the maximum is {MAX_TOOLS}.", "Offer fewer tools.")
    checked = [_checked_tool(tool, f"Tool {number}") for number, tool in enumerate(tools, start=1)]
    names = [tool["function"]["name"] for tool in checked]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise GenerationError(f"Two tools have the name {twice[0]!r}.", "Give every tool a name of its own.")
    size = len(json.dumps(checked, ensure_ascii=False))
    if size > MAX_TOOLS_CHARS:
        raise GenerationError(
            f"The tools are {size:,} characters as JSON, over {MAX_TOOLS_CHARS:,}.", "Offer fewer or shorter tools."
        )
    return checked


def has_tool_turns(messages: Sequence[Message]) -> bool:
    """Whether a conversation has calls or results, which plain ChatML has no form for."""
    return any(message["role"] == "tool" or message.get("tool_calls") for message in messages)


def walk_json(value: Any) -> Iterator[tuple[Any, int]]:
    """Every value in plain data with its depth, the outermost first. Circular data never end: look at the depth."""
    waiting = [(value, 1)]
    while waiting:
        outer, depth = waiting.pop()
        yield outer, depth
        if isinstance(outer, Mapping | list | tuple):
            waiting += [(inner, depth + 1) for inner in (outer.values() if isinstance(outer, Mapping) else outer)]


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy of plain data in which every text, and every key that is not a known word, is changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key if key in KNOWN_KEYS else change(key): with_texts(inner, change) for key, inner in value.items()}
    return [with_texts(inner, change) for inner in value] if isinstance(value, list | tuple) else value


def texts_of(value: Any) -> Iterator[str]:
    """Every text and key in plain data."""
    for inner, _ in walk_json(value):
        if isinstance(inner, str):
            yield inner
        elif isinstance(inner, Mapping):
            yield from inner


def _checked_message(message: Message, place: str) -> Json:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise GenerationError(f"{place} has the role {role!r}.", f"Use one of {', '.join(ROLES)}.")
    calls = message.get("tool_calls") if role == "assistant" else None
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise GenerationError(f"{place} has no text as content.", "Give content as a string.")
    checked: Json = {"role": role, "content": content}
    extras = {"assistant": ("reasoning_content",), "tool": ("tool_call_id", "name")}.get(role, ())
    checked |= {name: message[name] for name in extras if isinstance(message.get(name), str)}
    if calls:
        if not isinstance(calls, Sequence) or isinstance(calls, str) or len(calls) > MAX_TOOLS:
            raise GenerationError(
                f"{place} has tool_calls that are no list, or over {MAX_TOOLS}.", "Give them as OpenAI has them."
            )
        checked["tool_calls"] = [_checked_call(call, f"{place}, tool call {n}") for n, call in enumerate(calls, 1)]
    return checked


def _checked_call(call: Any, place: str) -> Json:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise GenerationError(f"{place} has no function.", "Give name and arguments as its function.")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError) as exc:
            raise GenerationError(f"{place} has arguments that are not JSON: {exc}.", "Send them as received.") from exc
    if not isinstance(arguments, Mapping):
        raise GenerationError(f"{place} has arguments that are no object.", "Give arguments as a JSON object.")
    _check_plain(arguments, f"{place}: arguments")
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": _name(function, place), "arguments": dict(arguments)}}


def _checked_tool(tool: Any, place: str) -> Json:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping) or tool.get("type", "function") != "function":
        raise GenerationError(f"{place} is no function.", 'Give it as {"type": "function", "function": {"name": …}}.')
    checked: Json = {"name": _name(function, place)}
    for field, kind in (("description", str), ("parameters", Mapping)):
        value = function.get(field)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise GenerationError(f"{place} has {field} of type {type(value).__name__}.", f"Give a {kind.__name__}.")
        _check_plain(value, f"{place}: {field}")
        checked[field] = value
    return {"type": "function", "function": checked}


def _name(function: Mapping[str, Any], place: str) -> str:
    name = function.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        raise GenerationError(
            f"{place} has the name {name!r:.100}.", "Use 1 … 64 letters, digits, dots, dashes and underscores."
        )
    return name


def _check_plain(value: Any, place: str) -> None:
    """Raise GenerationError for what is not JSON, or deep enough to break who walks it."""
    for inner, depth in walk_json(value):
        if depth > MAX_DEPTH:
            raise GenerationError(f"{place} are nested deeper than {MAX_DEPTH} levels.", "Flatten them.")
        is_number = isinstance(inner, int) or (isinstance(inner, float) and math.isfinite(inner))
        has_text_keys = isinstance(inner, Mapping) and all(isinstance(key, str) for key in inner)
        if not (inner is None or is_number or has_text_keys or isinstance(inner, str | list | tuple)):
            raise GenerationError(f"{place} hold {inner!r:.80}, which is not JSON.", "Give plain JSON data.")
