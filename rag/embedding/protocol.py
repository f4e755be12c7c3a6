"""What the library asks of an embedder."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Embedder(Protocol):
    """Texts to vectors of unit length, whose dot product says how alike they are.

    A text in which the embedder knows no word gets the zero vector, which is like nothing.
    """

    @property
    def id(self) -> str:
        """Names weights and settings: vectors of another id are never mixed."""
        ...

    @property
    def dim(self) -> int: ...

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of what is searched, shape (len(texts), dim)."""
        ...

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of what is asked, shape (len(texts), dim)."""
        ...

    def count_tokens(self, text: str) -> int:
        """The length of a text as the embedder sees it."""
        ...
