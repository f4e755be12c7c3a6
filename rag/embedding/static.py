"""The embedded embedder: one vector a token, their sum the text's, by numpy and `tokenizers` alone.

A folder holds `config.json`, `tokenizer.json` and `embedding.safetensors` with `rows`, int8 (V, D), and
`scales`, fp16 (V,): the vector of token v is scales[v] · rows[v], and its length is the token's weight.
Trained by `recipes/embedder`. No attention, so a text of any length costs a look-up and a sum a token.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers import Tokenizer

from core.errors import ModelError
from core.files import read_bytes, read_json_object
from rag.text import fold

FORMAT: Final = "astrai-static-embedder"
VERSION: Final = 1
CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE = "config.json", "tokenizer.json", "embedding.safetensors"
UNREADABLE: Final = "{path} cannot be read: {reason}."
REMEDY: Final = "Clone the repository again, or choose another embedder."


class StaticEmbedder:
    """Texts to vectors by a table, whatever their length."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError for a folder that is incomplete, too large or inconsistent."""
        config = read_json_object(folder / CONFIG_FILE, ModelError, REMEDY)
        if config.get("format") != FORMAT or config.get("version") != VERSION:
            found = f"{config.get('format')!r} {config.get('version')!r}"
            raise ModelError("{folder} is {found}, not {wanted} 1.", REMEDY, folder=folder, found=found, wanted=FORMAT)
        weights, tokenizer = _read(folder / WEIGHTS_FILE), _read(folder / TOKENIZER_FILE)
        self._tokenizer = _tokenizer(tokenizer)
        self._rows, self._scales = _table(weights, self._tokenizer.get_vocab_size())
        if self._rows.shape[1] != config.get("dim"):
            count, wanted = self._rows.shape[1], config.get("dim")
            raise ModelError(
                "{file} has {count} columns, not {wanted}.", REMEDY, file=WEIGHTS_FILE, count=count, wanted=wanted
            )
        digest = hashlib.sha256(weights + tokenizer).hexdigest()
        self.id = f"static-{VERSION}-{digest[:16]}"
        self.vocab_size: int = self._rows.shape[0]
        self.dim: int = self._rows.shape[1]

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(texts), dim); zeros where no token is known."""
        encodings = self._tokenizer.encode_batch_fast([fold(text) for text in texts], add_special_tokens=False)
        sums = np.zeros((len(texts), self.dim), np.float32)
        for index, encoding in enumerate(encodings):
            tokens, weights = weigh(encoding.ids)
            # A product of float32 is several times as fast as numpy's sum over gathered rows.
            sums[index] = (weights * self._scales[tokens]) @ self._rows[tokens].astype(np.float32)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `encode_passages`: one table serves both."""
        return self.encode_passages(texts)

    def count_tokens(self, text: str) -> int:
        """Words and pieces of words, punctuation aside."""
        return len(self._tokenizer.encode(fold(text), add_special_tokens=False))


def weigh(ids: Sequence[int] | NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The distinct tokens of a text and what each counts for: log₂(1 + n) when it stands there n times.

    A word said twenty times says more of a text than one said once, but not twenty times as much.
    """
    tokens, counts = np.unique(np.asarray(ids, np.int64), return_counts=True)
    return tokens, np.log2(1 + counts).astype(np.float32)


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as exc:
        raise ModelError(UNREADABLE, REMEDY, path=path, reason=exc) from exc


def _tokenizer(content: bytes) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_buffer(content)
    except Exception as exc:  # the library raises bare Exception
        raise ModelError(UNREADABLE, REMEDY, path=TOKENIZER_FILE, reason=exc) from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _table(content: bytes, vocab_size: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Rows (V, D) and scales (V,) with V = vocab_size."""
    try:
        tensors = safetensors.numpy.load(content)
        rows, scales = tensors["rows"], tensors["scales"]
    except (SafetensorError, KeyError, ValueError, TypeError) as exc:
        raise ModelError(UNREADABLE, REMEDY, path=WEIGHTS_FILE, reason=exc) from exc
    if rows.dtype != np.int8 or rows.ndim != 2 or scales.dtype != np.float16 or scales.shape != rows.shape[:1]:
        shapes = f"rows {rows.dtype} {rows.shape} and scales {scales.dtype} {scales.shape}"
        raise ModelError(
            "{file} holds {shapes}, not int8 (V, D) and float16 (V,).", REMEDY, file=WEIGHTS_FILE, shapes=shapes
        )
    if rows.shape[0] != vocab_size or rows.shape[1] == 0:
        raise ModelError(
            "{file} has {rows} rows for {tokens} tokens.",
            REMEDY,
            file=WEIGHTS_FILE,
            rows=rows.shape[0],
            tokens=vocab_size,
        )
    if not np.isfinite(scales).all():
        count = int(np.count_nonzero(~np.isfinite(scales)))
        raise ModelError("{file} has {count} scales not finite.", REMEDY, file=WEIGHTS_FILE, count=count)
    return rows, scales.astype(np.float32)
