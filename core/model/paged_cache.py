"""Keys and values in blocks, so that many sequences of any length share one memory and their beginnings.

A pass is ragged: the new tokens of several sequences lie behind each other in one row, (1, R). All rows are
written at once; only attention goes sequence by sequence, or in one product for those with a single new token.
Source: Kwon et al. 2023 (paged attention).

Legend: R rows (new tokens of all sequences), N sequences, S tokens of a sequence so far, H query heads, K kv
heads, D head dim, P tokens of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.model_config import ModelConfig
from core.model.attention import attention, causal_mask

# Sequences of one new token are attended to in one product while padding makes it at most so many times the work.
MAX_PADDING = 2.0


def cache_bytes(config: ModelConfig, num_tokens: int, dtype: torch.dtype) -> int:
    """Memory that the keys and values of so many tokens take."""
    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * num_tokens * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Span:
    """One sequence's part of a pass: `num_tokens` new ones behind `start`; blocks[i] holds positions i·P …"""

    start: int
    num_tokens: int
    blocks: Sequence[int]

    @property
    def end(self) -> int:
        return self.start + self.num_tokens


class PagedKVCache:
    """`num_blocks` blocks of every layer. Untouched blocks take no memory on a CPU."""

    def __init__(
        self, config: ModelConfig, num_blocks: int, block_tokens: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (2, num_blocks, block_tokens, config.num_key_value_heads, config.head_dim)
        self.layers = [torch.empty(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]
        self.num_blocks, self.block_tokens, self.device = num_blocks, block_tokens, device
        self.block_bytes = self.layers[0][:, 0].nbytes * len(self.layers)

    def step(self, spans: Sequence[Span]) -> "PagedStep":
        """The AttentionCache of one pass over these spans, in this order."""
        return PagedStep(self, spans)

    def copy_block(self, source: int, target: int) -> None:
        for layer in self.layers:
            layer[:, target] = layer[:, source]

    def read_block(self, block: int) -> Tensor:
        """A block's content as flat uint8 on the CPU."""
        content = torch.stack([layer[:, block] for layer in self.layers])
        return content.cpu().flatten().view(torch.uint8)

    def write_block(self, block: int, content: Tensor) -> None:
        """Put back what `read_block` gave."""
        parts = content.view(self.layers[0].dtype).view(len(self.layers), *self.layers[0][:, 0].shape)
        for layer, part in zip(self.layers, parts, strict=True):
            layer[:, block] = part.to(self.device)


class PagedStep:
    """One ragged pass; see AttentionCache."""

    def __init__(self, cache: PagedKVCache, spans: Sequence[Span]) -> None:
        self._cache, self._spans = cache, spans
        self._slots = [self._slots_of(span) for span in spans]
        new = [slots[span.start :] for slots, span in zip(self._slots, spans, strict=True)]
        self._new_slots = torch.cat(new).to(cache.device)  # (R,)
        positions = torch.cat([torch.arange(span.start, span.end) for span in spans])
        self.position_ids = positions.to(cache.device)[None]  # (1, R)
        self._parts: list[_Part] = []

    def begin(self, num_tokens: int, window: int | None, device: torch.device) -> int:
        """See AttentionCache."""
        assert num_tokens == len(self._new_slots), (num_tokens, len(self._new_slots))
        rows, row = [], 0
        for span in self._spans:
            rows.append(range(row, row + span.num_tokens))
            row += span.num_tokens
        singles = [index for index, span in enumerate(self._spans) if span.num_tokens == 1]
        groups = [group for group in self._of_like_length(singles) if len(group) > 1]
        others = sorted(set(range(len(self._spans))) - set().union(*groups))
        self._parts = [self._part(index, rows[index], window, device) for index in others]
        self._parts += [self._together(group, [rows[index].start for index in group], window) for group in groups]
        return max(span.end for span in self._spans)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See AttentionCache; q, k and v have B = 1 and T = R."""
        store = self._cache.layers[layer].flatten(1, 2)  # (2, blocks · P, K, D)
        store[0].index_copy_(0, self._new_slots, k[0].transpose(0, 1).to(store.dtype))
        store[1].index_copy_(0, self._new_slots, v[0].transpose(0, 1).to(store.dtype))
        if len(self._parts) == 1 and isinstance(self._parts[0], _OnePart):
            return self._parts[0].attend(q, store)
        y = torch.empty_like(q)
        for part in self._parts:
            part.attend_into(y, q, store)
        return y

    def finish(self, num_tokens: int) -> None:
        """Nothing moves here: whoever holds the sequences knows their lengths."""

    def _of_like_length(self, singles: list[int]) -> list[list[int]]:
        """The sequences by length, in groups that each need no more padding than MAX_PADDING allows."""
        groups: list[list[int]] = []
        total = 0
        for index in sorted(singles, key=lambda index: self._spans[index].end):
            longest = self._spans[index].end
            total += longest
            if not groups or longest * (len(groups[-1]) + 1) > MAX_PADDING * total:
                groups.append([])
                total = longest
            groups[-1].append(index)
        return groups

    def _slots_of(self, span: Span) -> Tensor:
        """Where each of a sequence's tokens lies, (S,)."""
        size = self._cache.block_tokens
        blocks = torch.tensor(span.blocks[: -(-span.end // size)])
        return (blocks[:, None] * size + torch.arange(size)).flatten()[: span.end]

    def _part(self, index: int, rows: range, window: int | None, device: torch.device) -> "_Part":
        span, slots = self._spans[index], self._slots[index]
        mask = causal_mask(span.start, span.num_tokens, window=window, device=device)
        first = int(slots[0])
        is_consecutive = int(slots[-1]) == first + span.end - 1 and bool((slots.diff() == 1).all())
        place = slice(first, first + span.end) if is_consecutive else slots.to(device)
        return _OnePart(slice(rows.start, rows.stop), place, mask)

    def _together(self, indices: list[int], rows: list[int], window: int | None) -> "_Part":
        """Padding points at the sequence's own first token: what lies in foreign slots may not even be a number."""
        device = self._cache.device
        longest = max(self._spans[index].end for index in indices)
        slots = torch.stack(
            [torch.cat((own, own[:1].expand(longest - len(own)))) for own in (self._slots[index] for index in indices)]
        )
        lengths = torch.tensor([self._spans[index].end for index in indices])[:, None]
        position = torch.arange(longest)[None]
        mask = position < lengths
        if window is not None:
            mask &= position >= lengths - window
        is_whole = bool(mask.all())
        return _SinglesPart(
            torch.tensor(rows, device=device), slots.to(device), None if is_whole else mask.to(device)[:, None, None]
        )


@dataclass(frozen=True, slots=True)
class _OnePart:
    """One sequence with one or more new tokens."""

    rows: slice
    place: slice | Tensor  # of its S tokens: a view where they lie together, else their slots
    mask: Tensor | None

    def attend(self, q: Tensor, store: Tensor) -> Tensor:
        if isinstance(self.place, slice):
            keys, values = store[0, self.place], store[1, self.place]  # (S, K, D)
        else:
            keys, values = store[0].index_select(0, self.place), store[1].index_select(0, self.place)
        return attention(q[:, :, self.rows], keys.transpose(0, 1)[None], values.transpose(0, 1)[None], self.mask)

    def attend_into(self, y: Tensor, q: Tensor, store: Tensor) -> None:
        y[:, :, self.rows] = self.attend(q, store)


@dataclass(frozen=True, slots=True)
class _SinglesPart:
    """Several sequences with one new token each."""

    rows: Tensor  # (N,)
    slots: Tensor  # (N, S)
    mask: Tensor | None  # (N, 1, 1, S)

    def attend_into(self, y: Tensor, q: Tensor, store: Tensor) -> None:
        shape = (*self.slots.shape, *store.shape[2:])
        keys, values = (part.index_select(0, self.slots.flatten()).view(shape).transpose(1, 2) for part in store)
        queries = q[0].index_select(1, self.rows).transpose(0, 1)[:, :, None]  # (N, H, 1, D)
        mixed = attention(queries.contiguous(), keys, values, self.mask)
        y[0].index_copy_(1, self.rows, mixed[:, :, 0].transpose(0, 1))


_Part = _OnePart | _SinglesPart
