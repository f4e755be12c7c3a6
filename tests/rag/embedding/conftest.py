"""A static embedder of a few words, made on the spot."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from tokenizers import Tokenizer, models, pre_tokenizers

from core.files import write_json
from rag.embedding.static import CONFIG_FILE, FORMAT, TOKENIZER_FILE, VERSION, WEIGHTS_FILE

WORDS = ("<unk>", "cat", "dog", "river", "猫", "狗", "河", "图", "书", "馆")
DIM = 8


def write_embedder(folder: Path, rows: np.ndarray, scales: np.ndarray, dim: int = DIM) -> Path:
    """A folder with the given table, whatever it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in WORDS], unk_id=0, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (folder / TOKENIZER_FILE).write_text(tokenizer.to_str(), encoding="utf-8")
    (folder / WEIGHTS_FILE).write_bytes(safetensors.numpy.save({"rows": rows, "scales": scales}))
    write_json(folder / CONFIG_FILE, {"format": FORMAT, "version": VERSION, "dim": dim, "vocab_size": len(WORDS)})
    return folder


@pytest.fixture
def rows() -> np.ndarray:
    generator = np.random.default_rng(0)
    rows = generator.integers(-127, 128, (len(WORDS), DIM)).astype(np.int8)
    rows[0] = 0
    return rows


@pytest.fixture
def scales() -> np.ndarray:
    return np.linspace(0.01, 0.02, len(WORDS)).astype(np.float16)


@pytest.fixture
def folder(tmp_path: Path, rows: np.ndarray, scales: np.ndarray) -> Path:
    return write_embedder(tmp_path / "embedder", rows, scales)
