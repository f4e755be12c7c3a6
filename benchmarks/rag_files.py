"""The search in the user's own files: their library is made anew, and asked questions made from it."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rag_sets import table
from core.errors import DataError
from rag.knowledge_base import KnowledgeBase

if TYPE_CHECKING:
    from rag.embedding import Embedder


def measure_files(paths: Sequence[Path], embedder: "Embedder") -> dict[str, Any]:
    """Recall, MRR and time of each way of searching. Raises: DataError if no file gives a passage."""
    with tempfile.TemporaryDirectory() as folder, KnowledgeBase(folder, embedder) as kb:
        report = kb.add(paths)
        for result in report.failed:
            print(result.sentence)
        found = kb.self_test()
        if found is None:
            raise DataError("These files give no questions.", "Name files with more text.")
        size_bytes = sum(document.size_bytes for document in kb.documents())
        rows: list[tuple[str, ...]] = [("", "recall@5", "MRR", "ms")]
        rows += [(name, *map(str, asdict(leg).values())) for name, leg in found.figures.items()]
        print(f"{found.num_probes} questions made from {len(kb.documents())} files\n{table(rows)}\n{found.advice}")
        if found.better_weight is not None:
            print(f"kb.meaning_weight = {found.better_weight:g} sets it, as the library's page does with one click.")
        return {
            "files": report.counts,
            "questions": found.num_probes,
            "legs": {name: asdict(leg) for name, leg in found.figures.items()},
            "advice": found.advice,
            "better_weight": found.better_weight,
            "indexing_mb_per_s": round(size_bytes / 1e6 / max(report.elapsed_s, 1e-9), 3),
        }
