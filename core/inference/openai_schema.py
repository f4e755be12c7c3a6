"""The shapes of OpenAI's chat and text completion requests, answers, chunks and errors.

Requests are read strictly, because a misspelt option that is dropped changes the answer without a word:
an unknown field is an error that names the nearest one. Fields of the standard that need nothing from this
server are dropped; those it cannot serve pass at the value that asks for nothing, and are refused at any
other. Source: https://platform.openai.com/docs/api-reference/chat and /completions.
"""

import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError, from_json

from core.config.schema import unknown_name_message

INVALID_REQUEST, SERVER_ERROR = "invalid_request_error", "server_error"
# OpenAI's own default for text completions; a chat without a limit runs to the end of the context.
DEFAULT_TEXT_TOKENS = 16
MAX_STOPS, MAX_STOP_CHARS = 16, 256

# They change nothing in what a local model answers.
IGNORED = {
    "user", "metadata", "store", "service_tier", "safety_identifier", "parallel_tool_calls", "prediction", "verbosity",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
}  # fmt: skip
# What cannot be served, with the values that do not ask for it.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "web_search_options": (),
}


class RequestError(Exception):
    """A request that is refused: the HTTP status and OpenAI's error object."""

    def __init__(
        self, message: str, *, status: int = 400, kind: str = INVALID_REQUEST, param: str | None = None,
        code: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    """The text of a message's content, which may come as parts."""
    if not isinstance(value, list):
        return value
    kinds = [part.get("type") if isinstance(part, dict) else None for part in value]
    other = [kind for kind in kinds if kind != "text"]
    if other:
        raise PydanticCustomError("unsupported", "Only text parts are supported, not {kind}", {"kind": str(other[0])})
    texts = [part.get("text") for part in value]
    return "".join(texts) if all(isinstance(text, str) for text in texts) else None


def _as_one_text(value: Any) -> Any:
    """A prompt; a list may hold it alone."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    if isinstance(value, list):
        raise PydanticCustomError("unsupported", "One text for each request is supported, as a string")
    return value


Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]


class ChatMessage(BaseModel):
    """One turn. What it holds beside role and text is not for the model and is dropped."""

    model_config = ConfigDict(strict=True, extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_as_text)]

    def plain(self) -> dict[str, str]:
        """As the chat template takes it; `developer` is the newer word for `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.content}


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class CompletionRequest(BaseModel):
    """What both kinds of request share. `top_k`, `min_p` and `repetition_penalty` go beyond OpenAI's.

    Limits of the sampling options are SamplingConfig's, which checks them.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    default_max_tokens: ClassVar[int | None] = None

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Annotated[list[Stop], BeforeValidator(_as_list), Field(max_length=MAX_STOPS)] = []
    seed: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Parse the body of a request. Raises RequestError, which names the field at fault."""
        try:
            values = from_json(body, allow_inf_nan=False)
        except ValueError as exc:
            raise RequestError(f"The body is not valid JSON: {exc}.") from exc
        if not isinstance(values, dict):
            raise RequestError(f"The body is JSON, but not an object: {type(values).__name__}.")
        given = {name: value for name, value in values.items() if value is not None}
        _refuse_unsupported(given)
        _refuse_unknown(given, [*cls.model_fields, *UNSUPPORTED, *IGNORED])
        try:
            return cls.model_validate({name: given[name] for name in given if name in cls.model_fields})
        except ValidationError as exc:
            raise _request_error(exc.errors(include_url=False)[0]) from exc

    def sampling(self, *, longest: int) -> dict[str, Any]:
        """The options that were given, in SamplingConfig's names. `longest` is the context, in tokens.

        Raises RequestError when the two names of the limit disagree.
        """
        limits = {limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None}
        if len(limits) > 1:
            raise RequestError(
                f"max_tokens is {self.max_tokens} and max_completion_tokens is {self.max_completion_tokens}; give one.",
                param="max_tokens",
            )
        names = ("seed", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")
        options = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"max_new_tokens": max(limits, default=self.default_max_tokens or longest), "stop": self.stop, **options}


class ChatRequest(CompletionRequest):
    """A conversation to reply to."""

    messages: list[ChatMessage] = Field(min_length=1)


class TextRequest(CompletionRequest):
    """A text to continue."""

    default_max_tokens: ClassVar[int | None] = DEFAULT_TEXT_TOKENS

    prompt: Annotated[str, BeforeValidator(_as_one_text)]


class Usage(BaseModel):
    """What an answer cost, in tokens; `cached_tokens` of the prompt did not have to be computed."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[Literal["cached_tokens"], int]


class Choice(BaseModel):
    """The one answer in a response or chunk. `finish_reason` is stop or length, and None before the end."""

    index: int = 0
    logprobs: None = None
    finish_reason: str | None = None


class ChatChoice(Choice):
    message: dict[str, str]


class DeltaChoice(Choice):
    delta: dict[str, str]


class TextChoice(Choice):
    text: str


class Response(BaseModel):
    """A whole answer, or one chunk of a streamed one."""

    id: str
    object: str
    created: int
    model: str
    choices: list[SerializeAsAny[Choice]]
    usage: Usage | None = None


class ChatReply:
    """Makes the objects of one answer of a chat, whole or in chunks."""

    whole_object, chunk_object, id_prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def __init__(self, model: str) -> None:
        self._id, self._created, self._model = f"{self.id_prefix}-{uuid.uuid4().hex}", int(time.time()), model

    def whole(self, text: str, finish_reason: str, usage: Usage) -> Response:
        return self._response(self.whole_object, [self.choice(text, finish_reason)], usage)

    def opening(self) -> Response:
        return self._chunk(self.delta({"role": "assistant", "content": ""}))

    def piece(self, text: str) -> Response:
        return self._chunk(self.delta({"content": text}))

    def ending(self, finish_reason: str) -> Response:
        return self._chunk(self.delta({}, finish_reason))

    def counts(self, usage: Usage) -> Response:
        """The chunk after the last one, where the request asked for it: usage and no choice."""
        return self._response(self.chunk_object, [], usage)

    def choice(self, text: str, finish_reason: str) -> Choice:
        return ChatChoice(message={"role": "assistant", "content": text}, finish_reason=finish_reason)

    def delta(self, delta: dict[str, str], finish_reason: str | None = None) -> Choice:
        return DeltaChoice(delta=delta, finish_reason=finish_reason)

    def _chunk(self, choice: Choice) -> Response:
        return self._response(self.chunk_object, [choice], None)

    def _response(self, kind: str, choices: list[Choice], usage: Usage | None) -> Response:
        return Response(
            id=self._id, object=kind, created=self._created, model=self._model, choices=choices, usage=usage
        )


class TextReply(ChatReply):
    """The same for the continuation of a text, whose chunks have the form of the whole."""

    whole_object, chunk_object, id_prefix = "text_completion", "text_completion", "cmpl"

    def choice(self, text: str, finish_reason: str) -> Choice:
        return TextChoice(text=text, finish_reason=finish_reason)

    def delta(self, delta: dict[str, str], finish_reason: str | None = None) -> Choice:
        return TextChoice(text=delta.get("content", ""), finish_reason=finish_reason)


def _refuse_unsupported(given: Mapping[str, Any]) -> None:
    for name, neutral in UNSUPPORTED.items():
        if name in given and not any(_is_same(given[name], value) for value in neutral):
            raise RequestError(
                f"{name} {_shown(given[name])} is not supported here; leave it out.", param=name, code="unsupported"
            )
    messages = given.get("messages")
    for number, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and (message.get("tool_calls") or message.get("function_call")):
            param = f"messages[{number}].tool_calls"
            raise RequestError(f"{param}: tool calls are not supported here.", param=param, code="unsupported")


def _refuse_unknown(given: Mapping[str, Any], known: list[str]) -> None:
    for name in given:
        if name not in known:
            message = f"There is {unknown_name_message(name, known)}."
            raise RequestError(message, param=name, code="unknown_parameter")


def _request_error(detail: ErrorDetails) -> RequestError:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    if detail["type"] == "missing":
        return RequestError(f"{place} is required.", param=place, code="missing_required_parameter")
    return RequestError(f"{place} is {_shown(detail['input'])}: {detail['msg']}.", param=place)


def _is_same(left: Any, right: Any) -> bool:
    """Equal as JSON has it: 0 is 0.0 but not false."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
