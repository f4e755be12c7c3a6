"""Speed and memory of a large library: indexing, and searching while nothing else runs."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.question_sets import SETS, read_set
from benchmarks.rag_sets import shuffled_passages
from rag.documents import Chunk, ParsedDocument
from rag.retrieval import Retriever
from rag.rows import Embedded, FileState
from rag.store import Store
from rag.store_reader import passage
from rag.vector_index import VectorIndex

if TYPE_CHECKING:
    from rag.embedding import Embedder

CHUNKS_PER_DOCUMENT = 20
ASKED = 100  # questions of each set


def measure_scale(folder: Path, num_chunks: int, embedder: "Embedder") -> dict[str, Any]:
    """Index passages made of the question sets' sentences, then ask the sets' questions."""
    sets = [read_set(folder / file) for file in SETS.values()]
    texts = shuffled_passages([text for found in sets for text in found.passages], num_chunks)
    asked = [question.text for found in sets for question in found.answerable()[:ASKED]]
    before = psutil.Process().memory_info().rss
    with tempfile.TemporaryDirectory() as place:
        store = Store(Path(place))
        started = time.perf_counter()
        for first in range(0, num_chunks, CHUNKS_PER_DOCUMENT):
            _put(store, embedder, texts[first : first + CHUNKS_PER_DOCUMENT], first)
        indexing_s = time.perf_counter() - started
        index = VectorIndex(store, Path(place), embedder.id)
        started = time.perf_counter()
        index.sync()
        loading_s = time.perf_counter() - started
        times = _search_times_ms(Retriever(store, index, embedder), asked)
        started = time.perf_counter()
        gone = [document.id for document in store.documents()[: num_chunks // CHUNKS_PER_DOCUMENT // 2]]
        store.remove(gone)
        removing_s = time.perf_counter() - started
        figures = {
            "chunks": num_chunks,
            "indexing_chunks_per_s": round(num_chunks / indexing_s, 1),
            "indexing_mb_per_s": round(sum(len(text.encode()) for text in texts) / 1e6 / indexing_s, 2),
            "vectors_from_database_s": round(loading_s, 2),
            "query_p50_ms": round(float(np.percentile(times, 50)), 1),
            "query_p95_ms": round(float(np.percentile(times, 95)), 1),
            "memory_mb": round((psutil.Process().memory_info().rss - before) / 1e6),
            "database_mb": round(store.database.path.stat().st_size / 1e6),
            f"removing_{len(gone)}_documents_s": round(removing_s, 2),
        }
        store.close()
    return figures


def _put(store: Store, embedder: "Embedder", texts: Sequence[str], number: int) -> None:
    """One document of some passages."""
    whole = "\n\n".join(texts)
    ends = np.cumsum([len(text) + 2 for text in texts]).tolist()
    chunks = [Chunk(end - 2 - len(text), end - 2, None, ()) for text, end in zip(texts, ends, strict=True)]
    vectors = embedder.encode_passages([passage((), text) for text in texts]).astype(np.float16)
    file = FileState(Path(f"/{number}.txt"), len(whole), 0, f"{number:064x}")
    store.put(file, "default", ParsedDocument("txt", "", whole), chunks, Embedded(embedder.id, vectors))


def _search_times_ms(retriever: Retriever, asked: Sequence[str]) -> list[float]:
    retriever.search(asked[0], 5)
    times = []
    for question in asked:
        started = time.perf_counter()
        retriever.search(question, 5)
        times.append((time.perf_counter() - started) * 1000)
    return times
