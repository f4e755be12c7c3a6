"""Nearest passages by their vectors: FAISS over what the database holds, never the only copy of anything.

The index lives in memory and searches exactly: 16-bit floats, inner product. A cache file saves reading the vectors
from the database at start; it is a plain table of numbers, not FAISS's own format, whose reader trusts what it reads.
The file is used if it is whole and of this library; then, as after every change by others, the index is brought to
agree with the database by comparing ids, which are never used twice.
"""

import logging
import threading
import zlib
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from core.files import write_atomic
from rag.rows import Change, Ids, Vectors
from rag.store_reader import StoreReader

logger = logging.getLogger(__name__)

FILE = "vectors.cache"
LEFTOVERS = (f".{FILE}.*.tmp", ".tmp*")  # of a program that was ended while it saved; the second is safetensors'
SAMPLE = 1024  # vectors that tell how similar a query is to anything at all


class VectorIndex:
    """The vectors of one embedder. Legend: N passages, D dimensions."""

    def __init__(self, store: StoreReader, folder: Path, embedder_name: str) -> None:
        self.embedder_name = embedder_name
        self._store, self._path = store, folder / FILE
        self._busy = threading.RLock()
        self._index: faiss.IndexIDMap2 | None = None
        self._generation = self._saved_generation = -1
        self._sample: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return 0 if self._index is None else int(self._index.ntotal)

    def search(self, query: NDArray[np.float32], limit: int, allowed: Ids | None = None) -> list[tuple[int, float]]:
        """Ids and cosines of the passages nearest to a query of length 1, shape (D,), best first."""
        with self._busy:
            self.sync()
            if self._index is None or (allowed is not None and not len(allowed)):
                return []
            selector = None if allowed is None else faiss.IDSelectorBatch(allowed)
            parameters = None if selector is None else faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]
            scores, ids = self._index.search(query[None], min(limit, len(self)), params=parameters)
        return [(int(id_), float(score)) for id_, score in zip(ids[0], scores[0], strict=True) if id_ >= 0]

    def similarities(self, query: NDArray[np.float32], chunk_ids: list[int]) -> list[float]:
        """The cosines of passages with a query; 0 for those that have no vector."""
        with self._busy:
            known = self._known(chunk_ids)
            if self._index is None or not known:
                return [0.0] * len(chunk_ids)
            vectors = self._index.reconstruct_batch(np.array(known, dtype=np.int64))
        found = dict(zip(known, (vectors @ query).tolist(), strict=True))
        return [found.get(id_, 0.0) for id_ in chunk_ids]

    def background(self, query: NDArray[np.float32]) -> tuple[float, float]:
        """Mean and deviation of the cosines of a query with passages at large."""
        with self._busy:
            if self._index is None:
                return 0.0, 1.0
            if self._sample is None:
                ids = faiss.vector_to_array(self._index.id_map)
                chosen = ids[np.linspace(0, len(ids) - 1, min(SAMPLE, len(ids))).astype(np.int64)]
                self._sample = self._index.reconstruct_batch(chosen)
            cosines = self._sample @ query
        return float(cosines.mean()), max(float(cosines.std()), 1e-3)

    def apply(self, change: Change, vectors: Vectors | None = None) -> None:
        """Follow a transaction of this program; if another's came between, the next search compares all ids."""
        with self._busy:
            if change.generation != self._generation + 1:
                return
            self._remove(np.array(change.removed_ids, dtype=np.int64))
            if vectors is not None:
                self._add(np.array(change.added_ids, dtype=np.int64), vectors)
            self._generation = change.generation

    def sync(self) -> None:
        """Bring the index to agree with the database."""
        with self._busy:
            if self._generation < 0:
                self._load()
            generation = self._store.generation()
            if generation == self._generation:
                return
            wanted = self._store.vector_ids(self.embedder_name)
            here = np.empty(0, np.int64) if self._index is None else faiss.vector_to_array(self._index.id_map)
            self._remove(np.setdiff1d(here, wanted))
            missing = np.setdiff1d(wanted, here)
            if len(missing):
                self._add(missing, self._store.vectors(self.embedder_name, missing))
            self._generation = generation

    def save(self) -> None:
        """Write the cache file, if it is not there as it should be.

        Without the file the next start reads the vectors from the database: a full disk costs a line in the log.
        """
        with self._busy:
            if self._index is None or self._generation == self._saved_generation:
                return
            ids = faiss.vector_to_array(self._index.id_map)
            vectors = self._index.reconstruct_batch(ids).astype(np.float16)
            stamp = self._stamp() | {"generation": str(self._generation), "crc32": _checksum(ids, vectors)}
            try:
                write_atomic(self._path, lambda path: save_file({"ids": ids, "vectors": vectors}, path, metadata=stamp))
            except (OSError, SafetensorError) as exc:
                logger.warning("%s could not be written: %s", self._path, exc)
            else:
                self._saved_generation = self._generation

    def tidy(self) -> None:
        """Remove what a program left that was ended while it saved. For the one that holds the library's lock."""
        try:
            for pattern in LEFTOVERS:
                for path in self._path.parent.glob(pattern):
                    path.unlink(missing_ok=True)
        except OSError as exc:
            logger.warning("%s could not be tidied: %s", self._path.parent, exc)

    def _load(self) -> None:
        """Take the vectors of the cache file, if it is whole and of this library and embedder."""
        self._generation = 0
        try:
            with safe_open(self._path, framework="numpy") as file:
                stamp = file.metadata() or {}
                if self._stamp().items() <= stamp.items():
                    ids, vectors = file.get_tensor("ids"), file.get_tensor("vectors")
                    if _checksum(ids, vectors) == stamp["crc32"]:
                        self._add(ids, vectors)
                        self._generation = self._saved_generation = int(stamp["generation"])
        except FileNotFoundError:
            return
        except (OSError, SafetensorError, KeyError, ValueError) as exc:
            logger.warning("%s is damaged and made anew: %s", self._path, exc)

    def _stamp(self) -> dict[str, str]:
        return {"library": self._store.setting("library"), "embedder": self.embedder_name}

    def _add(self, ids: Ids, vectors: Vectors) -> None:
        if not len(ids):
            return
        if self._index is None:
            flat = faiss.IndexScalarQuantizer(
                vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
            )
            self._index = faiss.IndexIDMap2(flat)
        self._index.add_with_ids(vectors.astype(np.float32), ids)
        self._sample = None

    def _remove(self, ids: Ids) -> None:
        if self._index is not None and len(ids):
            self._index.remove_ids(faiss.IDSelectorBatch(ids))
            self._sample = None
            if not self._index.ntotal:
                self._index = None

    def _known(self, chunk_ids: list[int]) -> list[int]:
        """Those of the passages that have a vector."""
        if self._index is None:
            return []
        wanted = np.array(chunk_ids, dtype=np.int64)
        return wanted[np.isin(wanted, faiss.vector_to_array(self._index.id_map))].tolist()


def _checksum(ids: Ids, vectors: Vectors) -> str:
    return f"{zlib.crc32(vectors.tobytes(), zlib.crc32(ids.tobytes())):08x}"
