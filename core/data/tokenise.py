"""Examples to tokens and loss masks; the part of `prepare` that runs in its worker processes."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.data.chat_template import ChatTemplate
from core.data.formats import Chat, Example, Preference, Text
from core.data.tokenizer import Tokenizer
from core.errors import AssistantError

Place = tuple[str, int]  # file and row


@dataclass(frozen=True, slots=True)
class Document:
    """T tokens to write; `num_bytes` is the length of their text in UTF-8."""

    ids: NDArray[Any]  # (T,) uint16 or uint32
    mask: NDArray[np.uint8] | None  # (T,) 1 where loss is taken; None is everywhere
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Tokenised:
    """One example's documents, or in `problem` why there are none."""

    split: str
    place: Place
    documents: list[Document]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Tokenise:
    """Tokenises batches of (split, place, example) with the tokenizer in a folder, read once per process."""

    folder: Path
    fingerprint: str

    def __call__(self, batch: list[tuple[str, Place, Example]]) -> list[Tokenised]:
        template = _template(self)
        return [_tokenised(template, *item) for item in batch]


@lru_cache(maxsize=1)
def _template(source: Tokenise) -> ChatTemplate:
    return ChatTemplate(Tokenizer.load(source.folder))


def _tokenised(template: ChatTemplate, split: str, place: Place, example: Example) -> Tokenised:
    try:
        return Tokenised(split, place, documents(template, example))
    except AssistantError as exc:
        return Tokenised(split, place, [], exc.message)


def documents(template: ChatTemplate, example: Example) -> list[Document]:
    """One document for a text or a conversation; chosen then rejected for a pair.

    Raises GenerationError, DataError or ModelError when the template cannot render the conversation.
    """
    tokenizer = template.tokenizer
    if isinstance(example, Text):
        ids = [*tokenizer.encode(example.text), tokenizer.eos_id]
        return [_document(tokenizer, ids, None, example.key())]
    if isinstance(example, Chat):
        return [_document(tokenizer, *template.encode_with_mask(example.messages), example.key())]
    return [_answered(template, example, answer) for answer in (example.chosen, example.rejected)]


def _answered(template: ChatTemplate, example: Preference, answer: str) -> Document:
    """The conversation with one answer; only that answer carries the mask."""
    prompt = len(template.encode(example.messages, add_generation_prompt=True))
    ids, mask = template.encode_with_mask([*example.messages, {"role": "assistant", "content": answer}])
    mask[:prompt] = [0] * prompt
    return _document(template.tokenizer, ids, mask, answer)


def _document(tokenizer: Tokenizer, ids: list[int], mask: list[int] | None, text: str) -> Document:
    dtype = np.uint16 if tokenizer.vocab_size <= 65536 else np.uint32
    num_bytes = len(text.encode("utf-8", "replace"))
    return Document(np.array(ids, dtype=dtype), None if mask is None else np.array(mask, dtype=np.uint8), num_bytes)
