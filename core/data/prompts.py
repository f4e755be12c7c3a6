"""Prompts out of conversations or preference pairs: everything before the last answer, for a policy to go on from.

A row is one prompt, with the tokens that open the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from core.data.answers import answer_start
from core.data.dataset import shuffled
from core.data.mmap_file import MmapFileHandler
from core.errors import DataError, Sentence


@dataclass(frozen=True, slots=True)
class PromptBatch:
    """Prompts, and for each the (epoch, document) that it is."""

    prompts: tuple[list[int], ...]
    places: tuple[tuple[int, int], ...]

    @property
    def num_tokens(self) -> int:
        return sum(map(len, self.prompts))

    def to(self, device: torch.device) -> "PromptBatch":
        """Itself: the engine takes ids as numbers."""
        return self

    def pin_memory(self) -> "PromptBatch":
        """Itself."""
        return self

    def joined(self, others: Sequence["PromptBatch"]) -> "PromptBatch":
        """These prompts and then those of the others."""
        batches = (self, *others)
        prompts, places = (tuple(chain.from_iterable(getattr(batch, name) for batch in batches)) for name in _FIELDS)
        return PromptBatch(prompts, places)


_FIELDS = ("prompts", "places")


class PromptRows:
    """See `Rows`: the prompts of one split that are at most `max_prompt_tokens` long."""

    def __init__(self, handler: MmapFileHandler, split: str, *, max_prompt_tokens: int, seed: int | None) -> None:
        """`seed` None keeps the order on disk. Raises DataError when no prompt is left."""
        self._handler, self._split, self._seed = handler, split, seed
        self._max_prompt_tokens = max_prompt_tokens
        documents = range(0, handler.num_documents(split), 2 if handler.kind == "preference" else 1)
        starts = ((document, answer_start(self._mask(document))) for document in documents)
        self._num_documents = len(documents)
        self._documents = {document: start for document, start in starts if start and start <= max_prompt_tokens}
        if not self._documents:
            raise DataError(
                "None of the {count:,} prompts of the {split} split has at most {most} tokens.",
                "Raise max_seq_len, or lower max_new_tokens.",
                count=self._num_documents,
                split=split,
                most=max_prompt_tokens,
            )

    @property
    def problems(self) -> list[str]:
        """What was left out."""
        count = self._num_documents - len(self._documents)
        most = self._max_prompt_tokens
        told = Sentence("{count:,} prompts have more than {most} tokens or no answer", count=count, most=most)
        return [told] if count else []

    def num_rows(self, epoch: int) -> int:
        return len(self._documents)

    def row_tokens(self, epoch: int) -> NDArray[np.int64]:
        """Tokens of each prompt, (rows,)."""
        return np.array([self._documents[document] for document in _order(self, epoch)], dtype=np.int64)

    def batch(self, places: Sequence[tuple[int, int]]) -> PromptBatch:
        """The prompts at these (epoch, index) places."""
        found = tuple((epoch, int(_order(self, epoch)[index])) for epoch, index in places)
        prompts = tuple(self._handler.ids(self._split, doc, 0, self._documents[doc]).tolist() for _, doc in found)
        return PromptBatch(prompts, found)

    def _mask(self, document: int) -> NDArray[np.uint8]:
        mask = self._handler.loss_mask(self._split, document)
        assert mask is not None, "conversations carry a loss mask"
        return mask

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Documents in the order of an epoch."""
        documents = np.fromiter(self._documents, dtype=np.int64)
        return documents[shuffled(len(documents), self._seed, epoch, 0)]


@lru_cache(maxsize=4)
def _order(rows: PromptRows, epoch: int) -> NDArray[np.int64]:
    return rows.order(epoch)
