"""How well a model predicts text: bits per byte and perplexity on files.

Bits per byte do not depend on the tokenizer, so models with different vocabularies compare; `xz` on
the same text is the yardstick that everybody has.
"""

import json
import lzma
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from core.errors import DataError, ModelError
from core.inference.generator import LanguageModel

CHUNK_TOKENS = 512
# Beyond e to this power a perplexity is no float any more; an untrained model stays far below.
MAX_EXPONENT = 700.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of one file. `xz_bits_per_byte` is what `xz -9` needs for the same text."""

    file: str
    num_bytes: int
    num_tokens: int
    bits_per_byte: float
    perplexity: float
    bytes_per_token: float
    xz_bits_per_byte: float

    def to_dict(self) -> dict[str, str | int | float]:
        return asdict(self)


def evaluate(model: LanguageModel, files: Sequence[str | Path]) -> list[Evaluation]:
    """Score text files (`.txt`, `.md`, or `.jsonl` with a `text` field), every token once.

    Raises DataError for a file without text.
    """
    return [_evaluate_file(model, Path(file)) for file in files]


def _evaluate_file(model: LanguageModel, path: Path) -> Evaluation:
    texts = [text for text in read_texts(path) if text]
    if not texts:
        raise DataError(
            f"{path} holds no text ({path.stat().st_size} bytes).", "Give a text file, or JSON lines with a text field."
        )
    nats, num_tokens = 0.0, 0
    for text in texts:
        text_nats, count = text_nats_of(model, text)
        nats, num_tokens = nats + text_nats, num_tokens + count
    if not math.isfinite(nats):
        raise ModelError(
            f"The loss of {model.name} on {path} is {nats}: its weights are damaged.",
            "Download the model again, or go back to an earlier checkpoint.",
        )
    raw = "\n".join(texts).encode()
    num_bytes = sum(len(text.encode()) for text in texts)
    return Evaluation(
        file=path.name,
        num_bytes=num_bytes,
        num_tokens=num_tokens,
        bits_per_byte=nats / math.log(2) / num_bytes,
        perplexity=math.exp(min(nats / num_tokens, MAX_EXPONENT)),
        bytes_per_token=num_bytes / num_tokens,
        xz_bits_per_byte=8 * len(lzma.compress(raw, preset=9)) / len(raw),
    )


@torch.inference_mode()
def text_nats_of(model: LanguageModel, text: str) -> tuple[float, int]:
    """Total -log p of a text's tokens and its end, and their number.

    Long texts are read in windows of the model's context, each starting half a window before the
    first token that it scores. Logits exist for CHUNK_TOKENS tokens at a time.
    """
    tokenizer = model.tokenizer
    start = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
    ids = [start, *tokenizer.encode(text), tokenizer.eos_id]
    size = model.max_seq_len
    total, scored = 0.0, 1
    while scored < len(ids):
        begin = 0 if scored == 1 else max(scored - size // 2, 0)
        window = torch.tensor([ids[begin : begin + size + 1]], device=model.engine.device)
        hidden = model.model.hidden(window[:, :-1])[0, scored - begin - 1 :]  # (T, C)
        targets = window[0, scored - begin :]
        for rows, labels in zip(torch.split(hidden, CHUNK_TOKENS), torch.split(targets, CHUNK_TOKENS), strict=True):
            logits = model.model.lm_head(rows).float()  # (chunk, V)
            total += F.cross_entropy(logits, labels, reduction="sum").item()
        scored = begin + window.shape[1]
    return total, len(ids) - 1


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file. Raises DataError for one that cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise DataError(f"{path} cannot be read: {exc.strerror}.", "Give the path of a text file.") from exc
    content = _decoded(path, raw)
    if path.suffix != ".jsonl":
        yield content
        return
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
            text.encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise DataError(f"{path}, line {number} has no text field.", "Give JSON lines with one.") from exc
        yield text


def _decoded(path: Path, raw: bytes) -> str:
    """A file's bytes as text. Raises DataError saying what the file seems to be instead."""
    if b"\0" in raw:
        raise DataError(f"{path} is not text: byte {raw.index(0)} of {len(raw)} is zero.", "Give a text file in UTF-8.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        where = f"{path} is not UTF-8: byte {exc.start} of {len(raw)} is {raw[exc.start]:#04x}"
        try:
            raw.decode("gb18030")
        except UnicodeDecodeError:
            raise DataError(f"{where}.", "Save it as UTF-8.") from exc
        raise DataError(
            f"{where}; it looks like GBK.", f"Convert it: iconv -f GB18030 -t UTF-8 {path.name} > utf8.txt"
        ) from exc
