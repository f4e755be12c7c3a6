"""What the HTTP server asks of others: text that comes in pieces, answers out of documents, and embeddings.

`LanguageModel` gives the first; the library, which `core` does not know, gives the other two, and whoever
puts the program together hands them over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from core.inference.token_stream import GenerationStats, Piece


class TextStream(Protocol):
    """An answer under way. `in_reasoning` says that its text begins inside <think>, which the prompt opened."""

    @property
    def in_reasoning(self) -> bool: ...

    @property
    def finish_reason(self) -> str | None:
        """Why it ended, once `pieces` has: stop, length or cancelled."""

    @property
    def stats(self) -> "GenerationStats":
        """What the answer cost so far."""

    def pieces(self) -> Iterator["Piece"]:
        """The text as it comes, with the tokens it is made of. Raises what the generation raised."""

    def cancel(self) -> None:
        """End it within one step. Safe from any thread and after the end."""


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage of a document that part of an answer rests on. Offsets count characters; the end is excluded."""

    document: str
    text: str
    page: int | None = None
    answer_start: int | None = None
    answer_end: int | None = None


class CitedStream(TextStream, Protocol):
    """An answer out of documents."""

    @property
    def citations(self) -> Sequence[Citation]:
        """Known once `pieces` has ended."""


class AnswerProvider(Protocol):
    """Answers conversations from the user's documents."""

    def answer(
        self, messages: Sequence[Mapping[str, Any]], *, collections: Sequence[str], sampling: Mapping[str, Any]
    ) -> CitedStream:
        """Begin an answer from these collections; `sampling` holds options of SamplingConfig.

        Raises DataError for a collection that is not there, GenerationError when the question does not fit.
        """


class Embedder(Protocol):
    """Turns texts into vectors."""

    @property
    def name(self) -> str: ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of N texts, of length 1 each."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens `embed` reads of these texts."""
