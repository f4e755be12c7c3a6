"""Which tokens of a row see which: causal order, documents, branches of a document, a window.

Legend: B rows, T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Visibility:
    """What the queries of whole rows may attend to.

    A token sees those before it and itself; with `document_ids` of its own document alone, which is one stretch of
    the row; with `branch_ids` of that only branch 0, which all share, and its own branch; with a `window` only that
    many last positions.
    """

    num_tokens: int
    device: torch.device
    window: int | None = None
    document_ids: Tensor | None = None  # (B, T)
    branch_ids: Tensor | None = None  # (B, T)
    position_ids: Tensor | None = None  # (B, T), which measure the window where there are branches

    @property
    def is_causal(self) -> bool:
        """Whether order alone decides."""
        return self.document_ids is None and (self.window is None or self.num_tokens <= self.window)

    def mask(self) -> Tensor:
        """(B or 1, 1, T, T) of bool, true where a query sees a key."""
        place = torch.arange(self.num_tokens, device=self.device)
        mask = (place <= place[:, None])[None]
        everything = slice(0, self.num_tokens)
        if (seen := self.seen(slice(None), everything, everything)) is not None:
            mask = mask & seen
        return mask[:, None]

    def seen(self, row: int | slice, queries: slice, keys: slice) -> Tensor | None:
        """(…, queries, keys) of bool, true where a query sees a key if order allows; None where it always does."""
        seen = None
        if self.document_ids is not None:
            seen = _pairs(self.document_ids[row], queries, keys)
        if self.branch_ids is not None:
            shared = (self.branch_ids[row] == 0)[..., None, keys]
            seen = (seen if seen is not None else True) & (_pairs(self.branch_ids[row], queries, keys) | shared)
        if self.window is not None and self.num_tokens > self.window:
            place = self.position_ids[row] if self.branch_ids is not None and self.position_ids is not None else None
            place = torch.arange(self.num_tokens, device=self.device) if place is None else place
            near = place[..., None, keys] > place[..., queries, None] - self.window
            seen = near if seen is None else seen & near
        return seen

    def sees(self, row: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Whether a query of a row sees a key, by their numbers, of any shape: what FlexAttention asks."""
        seen = key <= query
        if self.document_ids is not None:
            seen = seen & (self.document_ids[row, query] == self.document_ids[row, key])
        if self.branch_ids is not None:
            branch = self.branch_ids[row, key]
            seen = seen & ((branch == 0) | (branch == self.branch_ids[row, query]))
        if self.window is not None and self.num_tokens > self.window:
            if self.branch_ids is not None and self.position_ids is not None:
                query, key = self.position_ids[row, query], self.position_ids[row, key]
            seen = seen & (key > query - self.window)
        return seen

    def first_keys(self) -> Tensor | None:
        """(B, T): the first token of the document of each; None without documents."""
        if self.document_ids is None:
            return None
        place = torch.arange(self.num_tokens, device=self.device)
        begins = self.document_ids[:, 1:] != self.document_ids[:, :-1]
        starts = torch.cat((place.new_zeros(len(begins), 1), place[1:] * begins), dim=1)
        return starts.cummax(dim=1).values


def _pairs(ids: Tensor, queries: slice, keys: slice) -> Tensor:
    """(…, T) -> (…, queries, keys): where both have the same number."""
    return ids[..., queries, None] == ids[..., None, keys]
