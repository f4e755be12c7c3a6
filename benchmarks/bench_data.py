"""Tokens per second of the packed rows alone, and the memory that reading a large data set takes.

A set of random tokens is written, in documents of 1 to twice the mean length, and removed at the end. Rows are read
in the shuffled order of training. Resident memory counts the mapped pages that were read too.
"""

import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

VOCAB_SIZE = 50_000
TOKEN_BYTES = 2
WRITTEN_TOKENS = 1 << 24


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the data set (default 1)")
    parser.add_argument("--document-tokens", type=int, default=1000, help="mean length of a document (default 1000)")
    parser.add_argument("--max-seq-len", type=int, default=2048, help="tokens of a row (default 2048)")
    parser.add_argument("--rows", type=int, default=50_000, help="rows to read (default 50000)")
    parser.add_argument("--folder", type=Path, help="where to write it (default: the system's temporary folder)")


def run(arguments: Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "data"
        write(path, int(arguments.gigabytes * 1e9) // TOKEN_BYTES, arguments.document_tokens)
        return {"gigabytes": arguments.gigabytes, **measure(path, arguments)}


def write(path: Path, num_tokens: int, document_tokens: int) -> None:
    """A data set of about so many random tokens."""
    import numpy as np

    from core.data.mmap_file import MmapFileHandler

    draw = np.random.default_rng(0)
    text = draw.integers(0, VOCAB_SIZE, WRITTEN_TOKENS, dtype=np.uint16)
    writer = MmapFileHandler.writer(path, kind="pt", vocab_size=VOCAB_SIZE, fingerprint="none")
    with writer:
        while num_tokens > 0:
            lengths = draw.integers(1, 2 * document_tokens, 4096)
            starts = draw.integers(0, WRITTEN_TOKENS - 2 * document_tokens, 4096)
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
                writer.add("train", text[start : start + length])
            num_tokens -= int(lengths.sum())
        writer.close(sources=[], report={})


def measure(path: Path, arguments: Namespace) -> dict[str, Any]:
    import psutil

    from core.data.dataset import PackedDataset
    from core.data.mmap_file import MmapFileHandler

    process, batch_rows = psutil.Process(), 16
    before = process.memory_info().rss
    rows = PackedDataset(MmapFileHandler(path), "train", max_seq_len=arguments.max_seq_len, start_id=0, seed=1)
    started = time.perf_counter()
    count = min(rows.num_rows(0), arguments.rows)
    plan_s, planned = time.perf_counter() - started, process.memory_info().rss
    peak = planned
    started, cpu_started = time.perf_counter(), time.process_time()
    for first in range(0, count, batch_rows):
        rows.batch([(0, index) for index in range(first, min(first + batch_rows, count))])
        peak = max(peak, process.memory_info().rss)
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    return {
        "documents": len(rows.lengths),
        "rows": rows.num_rows(0),
        "max_seq_len": arguments.max_seq_len,
        "plan_s": round(plan_s, 2),
        "plan_mb": round((planned - before) / 1e6),
        "rows_read": count,
        "tokens_per_s": round(count * arguments.max_seq_len / seconds),
        "tokens_per_cpu_s": round(count * arguments.max_seq_len / cpu_s),
        "peak_growth_mb": round((peak - before) / 1e6),
    }
