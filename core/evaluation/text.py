"""How well a model predicts text: bits per byte and perplexity on files.

Bits per byte do not depend on the tokenizer, so models with different vocabularies compare; `xz` on
the same text is the yardstick that everybody has. Files are read as `prepare` reads them.
"""

import lzma
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from core.data.formats import recognise
from core.data.streams import InputFile, input_files
from core.errors import DataError, ModelError
from core.evaluation.reading import recognised
from core.inference.generator import LanguageModel
from core.inference.runner import Segment
from core.inference.scheduler import Scheduler
from core.model.score import bits_per_byte

CHUNK_TOKENS = 128
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
    """Score files of every kind that `prepare` reads, also those in folders; every token once.

    Raises DataError for a file without text, or with anything in it that would be left out.
    """
    return [_evaluate_file(model, file) for file in input_files([Path(file) for file in files])]


def _evaluate_file(model: LanguageModel, file: InputFile) -> Evaluation:
    texts = list(read_texts(file))
    if not texts:
        raise DataError(
            "{path} holds no text ({size} bytes).",
            "Give a file with text.",
            path=file.path,
            size=file.path.stat().st_size,
        )
    nats, num_tokens = 0.0, 0
    for text in texts:
        text_nats, count = text_nats_of(model, text)
        nats, num_tokens = nats + text_nats, num_tokens + count
    if not math.isfinite(nats):
        raise ModelError(
            "The loss of {name} on {path} is {loss}: its weights are damaged.",
            "Download the model again, or go back to an earlier checkpoint.",
            name=model.name,
            path=file.path,
            loss=nats,
        )
    raw = "\n".join(texts).encode()
    num_bytes = sum(len(text.encode()) for text in texts)
    return Evaluation(
        file=file.name,
        num_bytes=num_bytes,
        num_tokens=num_tokens,
        bits_per_byte=bits_per_byte(nats, num_bytes),
        perplexity=math.exp(min(nats / num_tokens, MAX_EXPONENT)),
        bytes_per_token=num_bytes / num_tokens,
        xz_bits_per_byte=8 * len(lzma.compress(raw, preset=9)) / len(raw),
    )


def text_nats_of(model: LanguageModel, text: str) -> tuple[float, int]:
    """Total -log p of a text's tokens and its end, and their number.

    Long texts are read in windows of the model's context, each starting half a window before the
    first token that it scores.
    """
    tokenizer = model.tokenizer
    ids = [tokenizer.start_id, *tokenizer.encode(text), tokenizer.eos_id]
    size = model.max_seq_len
    total, scored = 0.0, 1
    while scored < len(ids):
        begin = 0 if scored == 1 else max(scored - size // 2, 0)
        window = ids[begin : begin + size + 1]
        total += window_nats(model, window, scored - begin)
        scored = begin + len(window)
    return total, len(ids) - 1


def window_nats(model: LanguageModel, ids: list[int], first: int, adapter: str | None = None) -> float:
    """Total -log p of ids[first:] behind what comes before them, from the runner that serves answers.

    `adapter` is the name of one that is loaded.
    """
    return model.engine.call(partial(_window_nats, ids, first, model.adapter_key(adapter)))


@torch.inference_mode()
def _window_nats(ids: list[int], first: int, adapter: str | None, scheduler: Scheduler) -> float:
    """The same on the engine's thread. Logits exist for CHUNK_TOKENS tokens at a time."""
    total = 0.0
    with scheduler.borrowed_blocks(len(ids) - 1) as blocks:
        for start in range(0, len(ids) - 1, CHUNK_TOKENS):
            part = ids[start : min(start + CHUNK_TOKENS, len(ids) - 1)]
            num_logits = min(len(part), max(start + len(part) - first + 1, 0))
            logits = scheduler.runner.forward([Segment(part, start, blocks, num_logits, adapter)])  # (num_logits, V)
            if num_logits:
                labels = ids[start + len(part) - num_logits + 1 : start + len(part) + 1]
                total += F.cross_entropy(logits, torch.tensor(labels), reduction="sum").item()
    return total


def read_texts(file: InputFile) -> Iterator[str]:
    """The texts of a file. Raises DataError for the first thing in it that is none."""
    for example in recognised(file, recognise):
        yield example.key().encode("utf-8", "replace").decode()  # JSON may hold half of a surrogate pair
