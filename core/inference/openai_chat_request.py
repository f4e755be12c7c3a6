"""OpenAI's chat request: messages, tools, and the form an answer must have.

Source: https://platform.openai.com/docs/api-reference/chat/create.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from core.inference.openai_error import RequestError
from core.inference.openai_request import (
    MAX_COLLECTIONS,
    MAX_NAME_CHARS,
    MAX_TOP_LOGPROBS,
    STRICT,
    GenerationRequest,
    Name,
    unsupported,
)

MAX_MESSAGES, MAX_TOOLS, MAX_TOOL_CALLS, MAX_DESCRIPTION_CHARS = 2048, 128, 128, 16384
TEXT_PART = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
}
LOOSE = ConfigDict(strict=True, extra="ignore")


def _as_text(value: Any) -> Any:
    """The text of a message's content, which may come as parts."""
    if not isinstance(value, list):
        return value
    kinds = [part.get("type") if isinstance(part, dict) else None for part in value]
    other = [kind for kind in kinds if kind != "text"]
    if other:
        raise unsupported(f"Only text parts are supported, not {str(other[0])[:40]}")
    texts = [part.get("text") for part in value]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else None


Content = Annotated[
    str,
    BeforeValidator(_as_text),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]}),
]
FunctionName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Text = Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)]


class CalledFunction(BaseModel):
    """A function's name and its arguments, which are JSON in a string."""

    model_config = LOOSE

    name: FunctionName
    arguments: str


class ToolCall(BaseModel):
    """A call that the assistant made in an earlier turn."""

    model_config = LOOSE

    id: Name
    type: Literal["function"] = "function"
    function: CalledFunction


class SpokenMessage(BaseModel):
    """A turn of the user, or what steers the conversation. What it holds beside role and text is dropped."""

    model_config = LOOSE

    role: Literal["system", "developer", "user"]
    content: Content

    def plain(self) -> dict[str, Any]:
        """As the chat template takes it; `developer` is the newer word for `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class AssistantMessage(BaseModel):
    """An earlier answer: text, calls, or both."""

    model_config = LOOSE

    role: Literal["assistant"]
    content: Content | None = None
    tool_calls: list[ToolCall] | None = Field(None, max_length=MAX_TOOL_CALLS)

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not self.tool_calls:
            raise unsupported("An assistant's message needs content or tool_calls")
        return self

    def plain(self) -> dict[str, Any]:
        """As the chat template takes it."""
        calls = [call.model_dump() for call in self.tool_calls or []]
        return {"role": self.role, "content": self.content or "", **({"tool_calls": calls} if calls else {})}


class ToolMessage(BaseModel):
    """What a tool returned."""

    model_config = LOOSE

    role: Literal["tool"]
    content: Content
    tool_call_id: Name

    def plain(self) -> dict[str, Any]:
        """As the chat template takes it."""
        return {"role": self.role, "content": self.content, "tool_call_id": self.tool_call_id}


ChatMessage = Annotated[SpokenMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


class Function(BaseModel):
    """A function that may be called. `parameters` is the JSON schema of its arguments."""

    model_config = LOOSE

    name: FunctionName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool of the client's."""

    model_config = LOOSE

    type: Literal["function"]
    function: Function

    def plain(self) -> dict[str, Any]:
        """As the chat template and the constraint take it."""
        return self.model_dump(exclude_none=True)


class FunctionReference(BaseModel):
    model_config = LOOSE

    name: FunctionName


class NamedTool(BaseModel):
    """The one tool that must be called."""

    model_config = LOOSE

    type: Literal["function"]
    function: FunctionReference


class TextFormat(BaseModel):
    model_config = STRICT

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    model_config = STRICT

    type: Literal["json_object"]


class JsonSchema(BaseModel):
    model_config = STRICT

    name: FunctionName
    description: Text | None = None
    definition: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(BaseModel):
    model_config = STRICT

    type: Literal["json_schema"]
    json_schema: JsonSchema


class ChatRequest(GenerationRequest):
    """A conversation to reply to. `collections` goes beyond OpenAI's: the answer comes from these documents."""

    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] = (
        TextFormat(type="text")
    )
    tools: list[Tool] = Field([], max_length=MAX_TOOLS)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool = True
    collections: list[Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]] = Field(
        [], max_length=MAX_COLLECTIONS
    )

    @property
    def num_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def sampling(self, *, longest: int) -> dict[str, Any]:
        """Also the schema of the answer."""
        schema = self.json_schema
        return {**super().sampling(longest=longest), **({} if schema is None else {"json_schema": schema})}

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """What the answer's text must be valid against; None lets it be any text."""
        if isinstance(self.response_format, JsonSchemaFormat):
            return self.response_format.json_schema.definition or {"type": "object"}
        return {"type": "object"} if isinstance(self.response_format, JsonObjectFormat) else None

    def check(self) -> None:
        """Raise RequestError where two fields contradict each other."""
        if self.top_logprobs and not self.logprobs:
            raise RequestError(f"top_logprobs is {self.top_logprobs}, but logprobs is not true.", param="top_logprobs")
        names = [tool.function.name for tool in self.tools]
        wanted = self.tool_choice.function.name if isinstance(self.tool_choice, NamedTool) else None
        if wanted is not None and wanted not in names:
            raise RequestError(f"tool_choice names {wanted!r}, which is not among the tools.", param="tool_choice")
        if self.tool_choice == "required" and not names:
            raise RequestError('tool_choice is "required", but there are no tools.', param="tool_choice")
        if len(set(names)) < len(names):
            raise RequestError("Two tools have the same name.", param="tools")
        others = {
            "tools": self.tools, "response_format": self.json_schema, "adapter": self.adapter, "n": self.n > 1,
        }  # fmt: skip
        if self.collections and (clash := [name for name, value in others.items() if value]):
            raise RequestError(f"collections and {clash[0]} cannot be combined; leave one out.", param=clash[0])

    def options(self, *, longest: int) -> dict[str, Any]:
        """Also the tools, and that the text keeps the tags of reasoning and calls."""
        given = {**super().options(longest=longest), "keeps_markup": True}
        if self.tools:
            given["tools"] = [tool.plain() for tool in self.tools]
            given["tool_choice"] = (
                self.tool_choice.model_dump() if isinstance(self.tool_choice, NamedTool) else self.tool_choice
            )
        return given

    @property
    def tool_names(self) -> list[str]:
        """What counts as a call in the answer."""
        return [] if self.tool_choice == "none" else [tool.function.name for tool in self.tools]
