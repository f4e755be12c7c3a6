"""OpenAI's requests: what is read, what is refused and with which words.

Requests are read strictly, because a misspelt option that is dropped changes the answer without a word:
an unknown field is an error that names the nearest one. Fields of the standard that need nothing from this
server are dropped; those it cannot serve pass at the value that asks for nothing, and are refused at any
other. Every number, text and list has a bound. Sources: https://platform.openai.com/docs/api-reference/chat,
/completions and /embeddings.
"""

import codecs
from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError, from_json

from core.config.schema import unknown_name_message
from core.inference.openai_error import RequestError

# OpenAI's own default for text completions; a chat without a limit runs to the end of the context.
DEFAULT_TEXT_TOKENS = 16
MAX_STOPS, MAX_STOP_CHARS = 16, 256
MAX_CHOICES, MAX_PROMPTS, MAX_COLLECTIONS, MAX_NAME_CHARS = 8, 16, 16, 256
MAX_TOKENS, MAX_TOKEN_ID, MAX_TOP_LOGPROBS, MAX_TEXT_LOGPROBS, MAX_BIASES = 2**24, 2**24, 20, 5, 1024
MAX_SEED = 2**63 - 1
MAX_DEPTH = 48  # of a body's JSON; the schema of a tool may go deep
# Reading JSON holds up everything else, and takes as long as it has values: these are read in 0.2 s.
MAX_BRACKETS, MAX_COMMAS = 100_000, 1_000_000

# They change nothing in what a local model answers.
IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "safety_identifier", "prediction", "verbosity",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort",
    }
)  # fmt: skip
# What cannot be served, with the values that do not ask for it.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "web_search_options": (),
}

# Fields that hold one of several shapes, with the name of the field that tells which.
UNIONS = {"messages[]": "role", "response_format": "type", "tool_choice": "type", "prompt[]": ""}

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
Stop = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Bias = Annotated[float, Field(ge=-100, le=100)]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_prompts(value: Any) -> Any:
    """A prompt is a text or a list of token ids; one alone becomes a list of one."""
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], int)):
        return [value]
    return value


def _one_or_more(item: dict[str, Any], most: int) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "maxItems": most}]})


_STOP = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARS}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID}, "minItems": 1}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_PROMPTS}
_LISTS = {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_PROMPTS}
Stops = Annotated[list[Stop], BeforeValidator(_as_list), Field(max_length=MAX_STOPS), _one_or_more(_STOP, MAX_STOPS)]
Prompt = str | Annotated[list[TokenId], Field(min_length=1)]
Prompts = Annotated[
    list[Prompt],
    BeforeValidator(_as_prompts),
    Field(min_length=1, max_length=MAX_PROMPTS),
    WithJsonSchema({"anyOf": [{"type": "string"}, _TEXTS, _IDS, _LISTS]}),
]


class Request(BaseModel):
    """What every request has. A field that is null counts as left out."""

    model_config = STRICT
    ignored: ClassVar[frozenset[str]] = frozenset({"user"})
    unsupported: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    model: Name | None = None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Parse the body of a request. Raises RequestError, which names the field at fault."""
        if body.count(b"[") + body.count(b"{") > MAX_BRACKETS or body.count(b",") > MAX_COMMAS:
            raise RequestError("The body is JSON of too many values.", code="too_many_values")
        try:
            values = from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
        except ValueError as exc:
            raise RequestError(f"The body is not valid JSON: {exc}.", code="invalid_json") from exc
        if not isinstance(values, dict):
            raise RequestError(f"The body is JSON, but not an object: {type(values).__name__}.", code="invalid_json")
        _refuse_deep(values, MAX_DEPTH)
        given = {name: value for name, value in values.items() if value is not None}
        _refuse_unsupported(given, cls.unsupported)
        _refuse_unknown(given, [*cls.model_fields, *cls.unsupported, *cls.ignored])
        try:
            return cls.model_validate({name: given[name] for name in given if name in cls.model_fields})
        except ValidationError as exc:
            raise _request_error(_clearest(exc.errors(include_url=False))) from exc


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class GenerationRequest(Request):
    """What requests for text share. `top_k`, `min_p`, `repetition_penalty`, `adapter` go beyond OpenAI's.

    Limits of the sampling options are SamplingConfig's.
    """

    ignored = IGNORED
    unsupported = UNSUPPORTED
    default_max_tokens: ClassVar[int | None] = None

    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    max_completion_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)
    stop: Stops = []
    seed: int | None = Field(None, ge=-MAX_SEED - 1, le=MAX_SEED)
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_TOKEN_ID)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=0.1, le=10)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[Annotated[str, Field(pattern=r"^(0|[1-9][0-9]{0,8})$")], Bias] = Field({}, max_length=MAX_BIASES)
    adapter: Name | None = None

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
        names = (
            "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
        )  # fmt: skip
        options = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.logit_bias:
            options["logit_bias"] = self.logit_bias
        if (num_logprobs := self.num_logprobs) is not None:
            options["logprobs"] = num_logprobs
        return {"max_new_tokens": max(limits, default=self.default_max_tokens or longest), "stop": self.stop, **options}

    @property
    @abstractmethod
    def num_logprobs(self) -> int | None:
        """How many likeliest tokens to list beside each chosen one; None lists nothing."""

    def options(self, *, longest: int) -> dict[str, Any]:
        """What `LanguageModel` takes beside the text. Raises RequestError as `sampling` does."""
        adapter = {} if self.adapter is None else {"adapter": self.adapter}
        return {**self.sampling(longest=longest), **adapter}

    def seed_of(self, index: int) -> dict[str, Any]:
        """The seed of one of `n` answers, as a sampling option; the first one's is the request's own."""
        return {} if self.seed is None else {"seed": (self.seed + index) % (MAX_SEED + 1)}


class TextRequest(GenerationRequest):
    """Texts to continue, each `n` times."""

    default_max_tokens: ClassVar[int | None] = DEFAULT_TEXT_TOKENS

    prompt: Prompts
    logprobs: int | None = Field(None, ge=0, le=MAX_TEXT_LOGPROBS)

    @property
    def num_logprobs(self) -> int | None:
        return self.logprobs


class EmbeddingRequest(Request):
    """Texts to turn into vectors."""

    input: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=2048),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "minLength": 1},
                    {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 2048},
                ]
            }
        ),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, le=2**16)


def _refuse_deep(value: Any, levels: int) -> None:
    if levels == 0:
        raise RequestError(f"The body is JSON nested over {MAX_DEPTH} deep.", code="too_deep")
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        if isinstance(item, dict | list):
            _refuse_deep(item, levels - 1)


def _refuse_unsupported(given: Mapping[str, Any], unsupported: Mapping[str, tuple[Any, ...]]) -> None:
    for name, neutral in unsupported.items():
        if name in given and not any(_is_same(given[name], value) for value in neutral):
            raise RequestError(
                f"{name} {_shown(given[name])} is not supported here; leave it out.", param=name, code="unsupported"
            )


def _refuse_unknown(given: Mapping[str, Any], known: list[str]) -> None:
    for name in given:
        if name not in known:
            message = f"There is {unknown_name_message(name[:MAX_NAME_CHARS], known)}."
            raise RequestError(message, param=name[:MAX_NAME_CHARS], code="unknown_parameter")


def _clearest(details: list[ErrorDetails]) -> ErrorDetails:
    """The first fault; of a value that fits none of several shapes, the one that fits best."""
    stem = details[0]["loc"][:-1]
    if _shape(stem) not in UNIONS:
        return details[0]
    return max((one for one in details if one["loc"][: len(stem)] == stem), key=lambda one: len(one["loc"]))


def _request_error(detail: ErrorDetails) -> RequestError:
    place, kind = _place(detail["loc"]), detail["type"]
    if kind.startswith("union_tag"):
        kind, place = "missing" if kind == "union_tag_not_found" else kind, f"{place}.{UNIONS[_shape(detail['loc'])]}"
    if kind == "missing":
        return RequestError(f"{place} is required.", param=place, code="missing_required_parameter")
    shown = _shown(detail["ctx"]["tag"] if kind == "union_tag_invalid" else detail["input"])
    allowed = f" expected: {detail['ctx']['expected_tags']}" if kind == "union_tag_invalid" else f" {detail['msg']}"
    code = "unsupported" if kind == "unsupported" else "invalid_value"
    return RequestError(f"{place} is {shown}:{allowed}.", param=place, code=code)


def _shape(parts: tuple[int | str, ...]) -> str:
    return "".join("[]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _place(parts: tuple[int | str, ...]) -> str:
    """The field at fault as a path, without the names that pydantic adds behind a union."""
    named = [part for at, part in enumerate(parts) if isinstance(part, int) or _shape(parts[:at]) not in UNIONS]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named).lstrip(".")


def _is_same(left: Any, right: Any) -> bool:
    """Equal as JSON has it: 0 is 0.0 but not false."""
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def unsupported(message: str) -> PydanticCustomError:
    """What a validator raises for something of the standard that is not served."""
    return PydanticCustomError("unsupported", "{reason}", {"reason": message})
