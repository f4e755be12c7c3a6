"""The shapes of OpenAI's answers: whole ones, chunks of streamed ones, lists of models, vectors, errors.

They describe what `openai_writer` builds, in the server's OpenAPI document and in its tests.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

ANSWER = ConfigDict(extra="forbid", json_schema_mode_override="serialization")
FinishReason = Literal["stop", "length", "tool_calls"]


class TopLogprob(BaseModel):
    """A token and the natural logarithm of its probability; `bytes` are its UTF-8."""

    model_config = ANSWER

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """The tokens of an answer, in order."""

    model_config = ANSWER

    content: list[TokenLogprob]
    refusal: None = None


class TextLogprobs(BaseModel):
    """The tokens of a continuation; `text_offset` counts characters from its begin."""

    model_config = ANSWER

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]] | None
    text_offset: list[int]


class CalledFunction(BaseModel):
    model_config = ANSWER

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call that the client should make. `index` is there in chunks."""

    model_config = ANSWER

    id: str
    type: Literal["function"]
    function: CalledFunction


class ToolCallDelta(ToolCall):
    index: int


class Message(BaseModel):
    """What the assistant says. `reasoning_content` is what it thought before, where the model does."""

    model_config = ANSWER

    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Delta(BaseModel):
    """What a chunk adds to the message."""

    model_config = ANSWER

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChatChoice(BaseModel):
    model_config = ANSWER

    index: int
    message: Message
    logprobs: Logprobs | None
    finish_reason: FinishReason


class DeltaChoice(BaseModel):
    model_config = ANSWER

    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class TextChoice(BaseModel):
    model_config = ANSWER

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: FinishReason | None


class PromptDetails(BaseModel):
    model_config = ANSWER

    cached_tokens: int


class Usage(BaseModel):
    """What an answer cost, in tokens; `cached_tokens` of the prompt did not have to be computed."""

    model_config = ANSWER

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class Citation(BaseModel):
    """A passage that part of the answer rests on; offsets count characters of the answer, the end excluded."""

    model_config = ANSWER

    document: str
    text: str
    page: int | None
    answer_start: int | None
    answer_end: int | None


class ChatCompletion(BaseModel):
    model_config = ANSWER

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    citations: list[Citation] | None = None


class ChatCompletionChunk(BaseModel):
    """One event of a streamed answer. `usage` is there only where it was asked for, and null before the last."""

    model_config = ANSWER

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[DeltaChoice]
    usage: Usage | None = None
    citations: list[Citation] | None = None


class TextCompletion(BaseModel):
    """A continuation, or one event of a streamed one."""

    model_config = ANSWER

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage | None = None


class Vector(BaseModel):
    """`embedding` is a list of numbers, or their little-endian 32-bit form in base64."""

    model_config = ANSWER

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    model_config = ANSWER

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    model_config = ANSWER

    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: EmbeddingUsage


class ModelCard(BaseModel):
    model_config = ANSWER

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    model_config = ANSWER

    object: Literal["list"]
    data: list[ModelCard]


class ErrorObject(BaseModel):
    model_config = ANSWER

    message: str
    type: str
    param: str | None
    code: str | None


class Error(BaseModel):
    """Every refusal."""

    model_config = ANSWER

    error: ErrorObject


class Health(BaseModel):
    """`model` is null while none is loaded."""

    model_config = ANSWER

    status: Literal["ok"]
    model: str | None
