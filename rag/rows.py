"""What the store hands out, and which documents a search may find. Plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.documents import Line
from rag.remarks import Remark

Vectors = NDArray[np.float16]  # [n, dim], unit length
Ids = NDArray[np.int64]  # [n] of chunks


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as the disk has it: the cheap signs of a change, and the hash of its bytes."""

    path: Path
    size_bytes: int
    mtime_ns: int
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document in the library. `error` says why a file could not be read, and is None for one that was."""

    id: int
    path: Path
    collection: str
    kind: str
    title: str
    error: Remark | None
    notes: tuple[Remark, ...]
    size_bytes: int
    mtime_ns: int
    sha256: str
    content_id: int | None
    num_chunks: int

    @property
    def state(self) -> str:
        return "failed" if self.error else "ready"


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A passage as it is stored.

    `lines` are those of the page that it touches, of pdf only; `terms` those of its headings and text, with spaces
    between them.
    """

    id: int
    content_id: int
    start: int
    end: int
    page: int | None
    headings: tuple[str, ...]
    text: str
    lines: tuple[Line, ...]
    terms: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of passages, in their order, and the embedder that made them."""

    embedder_name: str
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to the passages, for the cache of their vectors; `generation` counts transactions."""

    generation: int
    added_ids: tuple[int, ...] = ()
    removed_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents a search may find; None allows all. `after_ns` is a time of modification."""

    collections: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    path_prefix: str | None = None
    after_ns: int | None = None

    @classmethod
    def of(
        cls,
        collections: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        path_prefix: str | Path | None = None,
        after: datetime | None = None,
    ) -> "Filter":
        """From what a search is asked with."""
        return cls(
            None if collections is None else tuple(collections),
            None if kinds is None else tuple(kinds),
            None if path_prefix is None else str(path_prefix),
            None if after is None else int(after.timestamp() * 1e9),
        )

    def __bool__(self) -> bool:
        return self != Filter()

    def where(self) -> tuple[str, list[Any]]:
        """A condition over `documents d`, `collections g` and `contents c`, and its values."""
        parts, values = ["d.content_id IS NOT NULL"], list[Any]()
        for column, allowed in (("g.name", self.collections), ("c.kind", self.kinds)):
            if allowed is not None:
                parts.append(f"{column} IN ({marks(allowed)})")
                values.extend(allowed)
        if self.path_prefix is not None:
            parts.append("substr(d.path, 1, ?) = ?")
            values.extend((len(self.path_prefix), self.path_prefix))
        if self.after_ns is not None:
            parts.append("d.mtime_ns > ?")
            values.append(self.after_ns)
        return " AND ".join(parts), values


def marks(values: Sequence[object]) -> str:
    """One question mark of SQL for each value."""
    return ", ".join("?" * len(values))
