"""tool_choice in its four forms."""

from typing import Any

import pytest

from core.errors import GenerationError
from core.inference.tools import ToolUse, tool_use


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


TOOLS = [tool("a"), tool("b")]


@pytest.mark.parametrize(
    ("choice", "shown", "forced"),
    [(None, "ab", ""), ("auto", "ab", ""), ("none", "", ""), ("required", "ab", "ab"), (tool("b"), "ab", "b")],
)
def test_a_choice_says_which_tools_are_shown_and_which_forced(choice: Any, shown: str, forced: str) -> None:
    use = tool_use(TOOLS, choice)
    assert use == ToolUse(tuple(map(tool, shown)), tuple(map(tool, forced)))
    assert use.names == set(shown)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (tool("c"), "no such tool is offered"),
        ("any", "tool_choice is 'any'"),
        ({"type": "custom"}, "tool_choice is"),
        ({"type": "function", "function": "a"}, "tool_choice is"),
        (7, "tool_choice is 7"),
    ],
)
def test_a_choice_that_cannot_be_met_is_named(choice: Any, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        tool_use(TOOLS, choice)


def test_required_without_tools_is_refused() -> None:
    with pytest.raises(GenerationError, match="no such tool is offered"):
        tool_use([], "required")
