"""Which tools an answer may call: OpenAI's `tools` and `tool_choice` as the parts of a generation take them.

`shown` goes to `ChatTemplate.encode`, `names` to `AnswerParser`, and where a call is forced, `forced` to
`ConstraintCompiler.tool_call`. Source: https://platform.openai.com/docs/api-reference/chat/create#tool_choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.tool_messages import Json, checked_tools
from core.errors import GenerationError


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools of one answer. `forced` are those of which one must be called; without any the model is free."""

    shown: tuple[Json, ...] = ()
    forced: tuple[Json, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What counts as a call in the answer."""
        return frozenset(tool["function"]["name"] for tool in self.shown)


def tool_use(tools: Sequence[Mapping[str, Any]], choice: str | Mapping[str, Any] | None = None) -> ToolUse:
    """Tools in OpenAI's form with a choice: none, auto, required, or {"type": "function", "function": {"name": …}}.

    Raises GenerationError for a bad tool, another choice, or one that the tools cannot meet.
    """
    shown = tuple(checked_tools(tools))
    if choice in (None, "auto"):
        return ToolUse(shown)
    if choice == "none":
        return ToolUse()
    if choice == "required":
        forced = shown
    else:
        name = _chosen_name(choice)
        forced = tuple(tool for tool in shown if tool["function"]["name"] == name)
    if not forced:
        raise GenerationError(f"tool_choice is {choice!r:.200}, and no such tool is offered.", "Add it to tools.")
    return ToolUse(shown, forced)


def _chosen_name(choice: str | Mapping[str, Any] | None) -> object:
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    if not isinstance(function, Mapping):
        raise GenerationError(
            f"tool_choice is {choice!r:.200}.",
            'Use "none", "auto", "required" or {"type": "function", "function": {"name": …}}.',
        )
    return function.get("name")
