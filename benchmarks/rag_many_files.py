"""Thousands of small files into a library that is searched meanwhile: rate, memory, and removing half of them."""

import gc
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.question_sets import SETS, read_set
from benchmarks.rag_sets import shuffled_passages
from rag import KnowledgeBase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rag.embedding import Embedder
    from rag.indexing import Progress

FILES_IN_FOLDER = 500
PASSAGES_IN_FILE = 3
SEARCH_INTERVAL_S = 0.5
LOOKS = 10  # at the memory, on the way


def measure_many_files(folder: Path, num_files: int, embedder: "Embedder") -> dict[str, Any]:
    """Index files made of the question sets' sentences, half of them Markdown, then remove every second one."""
    sets = [read_set(folder / file) for file in SETS.values()]
    asked = [question.text for found in sets for question in found.answerable()[:50]]
    passages = [text for found in sets for text in found.passages]
    with tempfile.TemporaryDirectory() as place, KnowledgeBase(Path(place) / "library", embedder) as kb:
        _write_files(Path(place) / "files", shuffled_passages(passages, num_files * PASSAGES_IN_FILE))
        memory: list[int] = []

        def look(progress: "Progress") -> None:
            if progress.done >= (len(memory) + 1) * num_files / LOOKS:
                memory.append(_memory_mb())

        with _searching(kb, asked) as times:
            report = kb.add([Path(place) / "files"], on_progress=look)
        started = time.perf_counter()
        gone = [document.id for document in kb.documents()[::2]]
        kb.remove(gone)
        removing_s = time.perf_counter() - started
        return {
            "files": report.counts,
            "files_per_s": round(num_files / report.elapsed_s, 1),
            "memory_mb_at_each_tenth": memory,
            "searches_meanwhile": len(times),
            "search_p50_ms": round(float(np.percentile(times, 50)), 1),
            "search_p95_ms": round(float(np.percentile(times, 95)), 1),
            "removed": len(gone),
            "removing_s": round(removing_s, 2),
        }


def _write_files(folder: Path, texts: list[str]) -> None:
    for first in range(0, len(texts), PASSAGES_IN_FILE):
        number = first // PASSAGES_IN_FILE
        place = folder / f"{number // FILES_IN_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        parts = texts[first : first + PASSAGES_IN_FILE]
        title = [f"# {number}"] if number % 2 else []
        (place / f"{number}.{'md' if number % 2 else 'txt'}").write_text(
            "\n\n".join([*title, *parts]), encoding="utf-8"
        )


@contextmanager
def _searching(kb: KnowledgeBase, asked: list[str]) -> "Iterator[list[float]]":
    """A second user, who searches meanwhile; milliseconds of each search."""
    times: list[float] = []
    ended = threading.Event()

    def search() -> None:
        for number in range(1_000_000):
            if ended.wait(SEARCH_INTERVAL_S):
                return
            started = time.perf_counter()
            kb.search(asked[number % len(asked)], 5)
            times.append((time.perf_counter() - started) * 1000)

    thread = threading.Thread(target=search)
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()


def _memory_mb() -> int:
    """What this process and the ones that read documents hold."""
    gc.collect()
    this = psutil.Process()
    return sum(process.memory_info().rss for process in (this, *this.children(recursive=True))) // 1_000_000
