"""Trained rows to the files that `rag.embedding` reads: int8 with one scale a row."""

from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.files import write_bytes, write_json
from rag.embedding.static import CONFIG_FILE, FORMAT, TOKENIZER_FILE, VERSION, WEIGHTS_FILE


def quantise(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """int8 rows (V, D) and fp16 scales (V,), the largest value of a row at ±127; mean row length 1."""
    rows = rows / np.linalg.norm(rows, axis=1).mean()
    scales = np.maximum(np.abs(rows).max(axis=1) / 127, 1e-7).astype(np.float16)
    steps = np.rint(rows / scales.astype(np.float32)[:, None])
    return np.clip(steps, -127, 127).astype(np.int8), scales


def write(folder: Path, rows: NDArray[np.float32], tokenizer: Tokenizer) -> None:
    """The embedder's three files; `rows` (V, D), the unknown token's is 0 and counts for nothing."""
    known = rows.copy()
    known[0] = 0
    quantised, scales = quantise(known)
    write_bytes(folder / TOKENIZER_FILE, tokenizer.to_str().encode())
    write_bytes(folder / WEIGHTS_FILE, safetensors.numpy.save({"rows": quantised, "scales": scales}))
    settings = {"format": FORMAT, "version": VERSION, "dim": rows.shape[1], "vocab_size": rows.shape[0]}
    write_json(folder / CONFIG_FILE, settings)
