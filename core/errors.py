"""Every error a user can meet, each with the remedy.

AssistantError
├── ConfigError        a setting that is unknown, out of range or in conflict with another
├── DataError          a file or row that cannot be read or used
│   └── DocumentError  a document that gives no text
├── ModelError         a model folder that is missing something, has wrong shapes or is unsafe
├── GenerationError    a request that the engine cannot serve (context too long, bad sampling)
│   ├── BusyError      too many requests wait already
│   └── ContextLengthError  a text that is longer than the context
├── DownloadError      a model that the hub does not give, or not as it says
├── TrainingError      a run that cannot start, go on or resume
└── SetupError         a library, file or permission that this machine lacks
"""

import re
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

# Words of Python, torch, CUDA's libraries and systems for memory that was not there. cuBLAS and cuDNN say no more than
# that they could not be set up when a GPU has no room for their workspace.
OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|MemoryError|DefaultCPUAllocator|cannot allocate memory|bad_alloc"
    r"|CU(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)|cudaErrorMemoryAllocation",
    re.IGNORECASE,
)


class Sentence(str):
    """A sentence whose values are named in braces, so that the page can say it in another language."""

    __slots__ = ("template", "values")
    template: str
    values: dict[str, Any]

    def __new__(cls, template: str, **values: Any) -> Self:
        """Several names as one value are a tuple."""
        text = template.format(**{name: listed(value) for name, value in values.items()}) if values else template
        made = super().__new__(cls, text)
        made.template, made.values = template, values
        return made


def listed(value: object) -> Any:
    """A value as a sentence takes it: several names or sentences in one text."""
    if not isinstance(value, tuple):
        return value
    return ("; " if any(isinstance(one, Sentence) for one in value) else " and ").join(value)


def packed(value: Any) -> Any:
    """A sentence as JSON that keeps its values; any other text as it is."""
    if isinstance(value, Sentence):
        return {"template": value.template, "values": packed(value.values)}
    if isinstance(value, dict):
        return {name: packed(one) for name, one in value.items()}
    return [packed(one) for one in value] if isinstance(value, tuple) else value


def unpacked(value: Any) -> Any:
    """What `packed` was given."""
    if isinstance(value, list):
        return tuple(map(unpacked, value))
    if not isinstance(value, dict):
        return value
    if value.keys() == {"template", "values"}:
        return Sentence(value["template"], **unpacked(value["values"]))
    return {name: unpacked(one) for name, one in value.items()}


def _plain(value: object) -> Any:
    """A value that JSON can hold: NumPy's whole numbers are Python's, and what is no number is its text."""
    if isinstance(value, (int, float, tuple, Sentence)):
        return value
    return int(value) if isinstance(value, Integral) else str(value)


class AssistantError(Exception):
    """What went wrong, with the real numbers, and what to do about it.

    Where `values` are given, both sentences name them in braces, so that the page can say them in another language.
    `kind` tells a program what ended a run: oom, nan, data, peer_lost, disk_full, killed, config or other.
    """

    kind = "other"

    def __init__(self, message: str, remedy: str, *, kind: str | None = None, **values: object) -> None:
        self.sentences = (message, remedy)
        self.values: dict[str, Any] = {name: _plain(value) for name, value in values.items()}
        self.message, self.remedy = self.told(message, remedy)
        super().__init__(self.message)
        self.kind = kind or self.kind

    @property
    def sentence(self) -> Sentence:
        """What went wrong, as a value of another sentence."""
        return self.whole

    @property
    def whole(self) -> Sentence:
        """The message with its stop, which names problems too."""
        return Sentence(self.sentences[0], **self.values)

    @property
    def advice(self) -> Sentence:
        """What to do about it, in the same way."""
        return Sentence(self.sentences[1], **self.values)

    def told(self, message: str, remedy: str, **renamed: object) -> tuple[str, str]:
        """Message and remedy where these say its sentences in some language, in which some values are named so."""
        values = {name: listed(value) for name, value in (self.values | renamed).items()}
        return (message.format(**values), remedy.format(**values)) if values else (message, remedy)

    def to_dict(self) -> dict[str, Any]:
        """What goes to another process as JSON."""
        return {"sentences": self.sentences, "values": packed(self.values)}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Self:
        """The error that another process had."""
        message, remedy = told["sentences"]
        return cls(message, remedy, **unpacked(told["values"]))

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


class ConfigError(AssistantError):
    """A setting is unknown, out of range or in conflict with another; `problems` are the sentences of the message."""

    kind = "config"

    @classmethod
    def of(cls, problems: Sequence[str], remedy: str) -> Self:
        """All that is wrong with some settings at once."""
        said = tuple(one if isinstance(one, Sentence) else Sentence(one) for one in problems)
        return cls("{problems}.", remedy, problems=said)

    @property
    def problems(self) -> tuple[Sentence, ...]:
        """What is wrong, where it is about several settings."""
        return self.values.get("problems", ())

    @property
    def sentence(self) -> Sentence:
        """Without the stop where it names problems."""
        return Sentence("{problems}", problems=self.problems) if self.problems else super().sentence


class DataError(AssistantError):
    """A file or row cannot be read or used."""

    kind = "data"


class DocumentError(DataError):
    """A document gives no text: damaged, protected, too large or of a kind that is not read."""


class ModelError(AssistantError):
    """A model folder is missing something, has wrong shapes or is unsafe."""


class GenerationError(AssistantError):
    """The engine cannot serve this request."""


class BusyError(GenerationError):
    """Too many requests wait already; a later one will be served."""


class ContextLengthError(GenerationError):
    """A text is longer than the model's context."""


class DownloadError(AssistantError):
    """The hub does not give this model, or not as it says."""


class TrainingError(AssistantError):
    """A run cannot start, go on or resume."""


class SetupError(AssistantError):
    """This machine lacks a library, a file or a permission."""

    kind = "config"


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether no memory was found, on a GPU or beside one: the error itself, or what it came from."""
    is_it = isinstance(exc, MemoryError) or bool(OUT_OF_MEMORY.search(f"{type(exc).__name__}: {exc}"))
    return is_it or (exc.__cause__ is not None and is_out_of_memory(exc.__cause__))
