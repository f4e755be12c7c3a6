"""Tokens as the trainer reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.data.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token. `document` counts texts, conversations or answers within the row; a pair's prompt is 0."""

    id: int
    text: str
    has_loss: bool
    document: int
    is_special: bool


def inspect(
    value: str | Mapping[str, Any], tokenizer: Tokenizer, stage: str, *, max_seq_len: int = 512
) -> list[TokenView]:
    """The tokens of one row (a text, or a JSON object) as a stage reads them. Raises DataError for no row of it."""
    raise NotImplementedError
