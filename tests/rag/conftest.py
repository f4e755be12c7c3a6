"""A library that is quick to make: an embedder without weights, and files."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag import KnowledgeBase
from rag.text import terms


class HashEmbedder:
    """Sums a fixed pseudo-random vector for each term: texts are alike that share words."""

    def __init__(self, name: str = "hash-1", dim: int = 64) -> None:
        self.id, self.dim = name, dim

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self._encode(text) for text in texts]) if texts else np.empty((0, self.dim), np.float32)

    encode_queries = encode_passages

    def count_tokens(self, text: str) -> int:
        return len(terms(text))

    def _encode(self, text: str) -> NDArray[np.float32]:
        total = np.zeros(self.dim, np.float32)
        for term in terms(text):
            seed = zlib.crc32(f"{self.id} {term}".encode())
            total += np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
        return total / max(float(np.linalg.norm(total)), 1e-9)


class MisleadingEmbedder(HashEmbedder):
    """Puts every question near the longest text."""

    def __init__(self) -> None:
        super().__init__("misleading", dim=2)

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        angles = np.array([len(text) / 1000 for text in texts], np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.tile(np.array([0, 1], np.float32), (len(texts), 1))


def misleading_files() -> list[tuple[str, str]]:
    """Names and texts of different lengths, each with words of its own, by which they are found."""
    own = ("met", "ate", "sang", "slept", "wrote")
    return [
        (f"{i}.txt", f"We {' '.join(f'{word}{i}' for word in own)} near the river. {'It rained a lot. ' * 2 * i}")
        for i in range(10)
    ]


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def kb(tmp_path: Path, embedder: HashEmbedder) -> Iterator[KnowledgeBase]:
    with KnowledgeBase(tmp_path / "library", embedder) as library:
        yield library


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a text file below the folder `files`."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write
