"""Which embedder the library searches by meaning with: the user's choice, kept over a restart, and lent to programs.

The choice is a folder, the hub name of one that was downloaded or is in the hub's cache, or nothing, which is the one
that comes with the program. While the vectors of
another one are made, the file names both: a search uses the old one, and the next start goes on with the new.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from core.errors import ConfigError
from core.files import read_json_object, write_json
from core.hub.places import EMBEDDER, find_downloaded

if TYPE_CHECKING:
    from rag.embedding import Embedder

FILE = "embedder.json"
OWN, OWN_NAME = "", "astrai-embedder"
MAX_CHARS = 4096


class EmbedderSetting:
    """The file in the library's folder that says which embedder is used and which is to be."""

    def __init__(self, folder: Path, own: "Callable[[], Embedder] | None" = None) -> None:
        """`own` makes the embedder that comes with the program, where that is another one."""
        self._path, self._own = folder / FILE, own

    @property
    def current(self) -> str:
        """What the vectors of the library were made with."""
        return self._read("current") or OWN

    @property
    def wanted(self) -> str | None:
        """What they are being made with; None while that is no other."""
        return self._read("wanted")

    def want(self, choice: str | None) -> None:
        """Note what the vectors are being made with; None gives that up."""
        write_json(self._path, {"current": self.current, "wanted": choice})

    def keep(self, choice: str) -> None:
        """Note that all vectors are there."""
        write_json(self._path, {"current": choice, "wanted": None})

    def load(self, choice: str) -> "Embedder":
        """Raises: ModelError for a folder or name that is missing, unsafe or broken."""
        from rag.embedding import load_embedder

        if choice == OWN and self._own is not None:
            return self._own()
        return load_embedder(find_downloaded(choice, EMBEDDER) or choice or None)

    def _read(self, name: str) -> str | None:
        if not self._path.exists():
            return None
        value = read_json_object(self._path, ConfigError, "Delete it, and choose the embedder again.").get(name)
        return value if isinstance(value, str) else None


class LazyEmbedder:
    """An embedder that is loaded when its first vector is asked for: some take seconds."""

    def __init__(self, load: "Callable[[], Embedder]") -> None:
        self._load, self._loading = load, threading.Lock()
        self._loaded: Embedder | None = None

    @property
    def id(self) -> str:
        return self._embedder.id

    @property
    def dim(self) -> int:
        return self._embedder.dim

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of what is searched, shape (len(texts), dim)."""
        return self._embedder.encode_passages(texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of what is asked, shape (len(texts), dim)."""
        return self._embedder.encode_queries(texts)

    def count_tokens(self, text: str) -> int:
        """The length of a text as the embedder sees it."""
        return self._embedder.count_tokens(text)

    @property
    def _embedder(self) -> "Embedder":
        with self._loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded


class ServedEmbedder:
    """The library's embedder as the server for programs asks for it: texts are passages."""

    def __init__(self, current: "Callable[[], Embedder]", choice: Callable[[], str]) -> None:
        """`current` gives the embedder of the moment, `choice` the folder or name that it is of."""
        self._current, self._choice = current, choice

    @property
    def name(self) -> str:
        return embedder_name(self._choice())

    @property
    def dimensions(self) -> int:
        return self._current().dim

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of N texts, of length 1 each."""
        return self._current().encode_passages(texts)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the texts have."""
        return sum(map(self._current().count_tokens, texts))


def embedder_name(choice: str) -> str:
    """What people and programs call a choice: the last folder of a path, or the hub's name."""
    if choice == OWN:
        return OWN_NAME
    path = Path(choice)
    return path.name if path.is_absolute() else choice


def to_choice(text: str) -> str:
    """What was typed as a choice: a folder by its whole path, a hub name as it is."""
    typed = text.strip().strip("\"'")[:MAX_CHARS]
    folder = Path(typed).expanduser()
    return str(folder.absolute()) if typed and (folder.is_dir() or folder.is_absolute()) else typed
