"""Prompts out of conversations or preference pairs: everything before the last answer, for a policy to go on from.

A row is one prompt, with the tokens that open the answer. What stands behind an answer in the data, such as the end
of the whole text, is its closing: a reward model has learnt to read answers with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.dataset import shuffled
from core.data.mmap_file import MmapFileHandler
from core.errors import DataError


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts, and for each the (epoch, document) that it is."""

    prompts: tuple[list[int], ...]
    places: tuple[tuple[int, int], ...]
    closing: list[int]

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.prompts))

    def to(self, device: torch.device) -> "PromptBatch":
        """Itself: the engine takes ids as numbers."""
        return self


class PromptRows:
    """See `Rows`: the prompts of one split that are at most `max_prompt_tokens` long."""

    def __init__(self, handler: MmapFileHandler, split: str, *, max_prompt_tokens: int, seed: int | None) -> None:
        """`seed` None keeps the order on disk. Raises DataError when no prompt is left."""
        self._handler, self._split, self._seed = handler, split, seed
        self._max_prompt_tokens = max_prompt_tokens
        documents = range(0, handler.num_documents(split), 2 if handler.kind == "preference" else 1)
        self._answers = [(document, answer_span(self._mask(document))) for document in documents]
        kept = [(document, span) for document, span in self._answers if span and span[0] <= max_prompt_tokens]
        self._documents = {document: span[0] for document, span in kept}
        if not kept:
            raise DataError(
                f"None of the {len(self._answers):,} prompts of the {split} split has at most {max_prompt_tokens}"
                " tokens.",
                "Raise max_seq_len, or lower max_new_tokens.",
            )
        document, (_, end) = kept[0]
        self.closing: list[int] = handler.tokens(split, document)[end:].tolist()

    @property
    def problems(self) -> list[str]:
        """What was left out."""
        count = len(self._answers) - len(self._documents)
        return [f"{count:,} prompts have more than {self._max_prompt_tokens} tokens or no answer"] if count else []

    def num_rows(self, epoch: int) -> int:
        return len(self._documents)

    def batch(self, places: Sequence[tuple[int, int]]) -> PromptBatch:
        """The prompts at these (epoch, index) places."""
        found = tuple((epoch, int(_order(self, epoch)[index])) for epoch, index in places)
        prompts = tuple(self._handler.tokens(self._split, doc)[: self._documents[doc]].tolist() for _, doc in found)
        return PromptBatch(prompts, found, self.closing)

    def _mask(self, document: int) -> NDArray[np.uint8]:
        mask = self._handler.loss_mask(self._split, document)
        assert mask is not None, "conversations carry a loss mask"
        return mask

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Documents in the order of an epoch."""
        documents = np.fromiter(self._documents, dtype=np.int64)
        return documents if self._seed is None else documents[shuffled(len(documents), self._seed, epoch, 0)]


@lru_cache(maxsize=4)
def _order(rows: PromptRows, epoch: int) -> NDArray[np.int64]:
    return rows.order(epoch)


def answer_span(mask: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Where the last answer begins and ends: the last run of at least two masked tokens.

    The mask (T,) has 1 on answers with the ends of their turns, and on the end of the whole text, a run of one token.
    """
    edges = np.flatnonzero(np.diff(mask, prepend=0, append=0))
    runs = edges.reshape(-1, 2)
    long = runs[np.diff(runs, axis=1)[:, 0] > 1]
    return (int(long[-1, 0]), int(long[-1, 1])) if len(long) else None
