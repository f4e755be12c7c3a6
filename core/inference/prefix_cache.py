"""Beginnings of texts whose keys and values are kept, to be shared by later requests.

A radix tree whose nodes are blocks: a path from a root is a text, a full block can have children, a partly
filled one is a leaf. A match counts in tokens, not in blocks: one that ends inside a block says so, and the
request copies that block. Each adapter has a tree of its own, since its keys and values differ. The least
recently used leaves go when blocks are wanted.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from core.inference.block_pool import BlockPool
from core.inference.runner import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class Match:
    """The longest cached beginning of a text: whole blocks, then `num_copied` tokens of block `source`."""

    blocks: list[int]
    source: int | None = None
    num_copied: int = 0

    @property
    def num_tokens(self) -> int:
        return len(self.blocks) * BLOCK_TOKENS + self.num_copied

    @property
    def all_blocks(self) -> list[int]:
        return self.blocks if self.source is None else [*self.blocks, self.source]


@dataclass(slots=True, eq=False)
class _Node:
    ids: tuple[int, ...]
    block: int
    parent: "_Node | None"
    children: dict[int, "list[_Node]"] = field(default_factory=dict)  # by first token
    used: int = 0
    is_pinned: bool = False

    def find(self, ids: tuple[int, ...]) -> "_Node | None":
        """A child that begins with these ids."""
        return next((child for child in self.children.get(ids[0], ()) if child.ids[: len(ids)] == ids), None)


class PrefixCache:
    """Owns its blocks in the pool, which it shares with the running sequences."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._roots: dict[str | None, _Node] = {}
        self._clock = itertools.count(1)
        self._leaves: list[tuple[int, int, _Node]] = []  # a heap by time of last use; may hold outdated entries
        self._serial = itertools.count()

    def match(self, ids: Sequence[int], adapter: str | None) -> Match:
        """The longest beginning of ids that is here. Whoever uses the blocks shares them first."""
        node = self._root(adapter)
        blocks: list[int] = []
        while True:
            part = tuple(ids[len(blocks) * BLOCK_TOKENS : (len(blocks) + 1) * BLOCK_TOKENS])
            nearest, length = _nearest(node, part)
            if nearest is None:
                return Match(blocks)
            self._touch(nearest)
            if length < BLOCK_TOKENS:
                return Match(blocks, nearest.block, length)
            blocks.append(nearest.block)
            node = nearest

    def insert(self, ids: Sequence[int], blocks: Sequence[int], adapter: str | None) -> None:
        """Keep a text whose keys and values are in these blocks. What is here already is not kept twice."""
        node = self._root(adapter)
        for index, start in enumerate(range(0, len(ids), BLOCK_TOKENS)):
            part = tuple(ids[start : start + BLOCK_TOKENS])
            child = node.find(part)
            if child is None:
                child = self._add(node, part, blocks[index])
            self._touch(child)
            node = child

    def make_room(self, count: int) -> bool:
        """Forget least recently used texts until so many blocks are free; whether it came to that."""
        busy = []
        while self._pool.num_free < count and self._leaves:
            entry = heapq.heappop(self._leaves)
            used, _, node = entry
            if node.parent is None or node.children or node.used != used or node.is_pinned:
                continue
            if self._pool.num_owners(node.block) > 1:
                busy.append(entry)
                continue
            self._remove(node)
        for entry in busy:
            heapq.heappush(self._leaves, entry)
        return self._pool.num_free >= count

    def pin(self, ids: Sequence[int], adapter: str | None) -> None:
        """Never forget this text, which is here."""
        node = self._root(adapter)
        for start in range(0, len(ids), BLOCK_TOKENS):
            child = node.find(tuple(ids[start : start + BLOCK_TOKENS]))
            assert child is not None, "only what is here can be pinned"
            child.is_pinned = True
            node = child

    def forget(self, adapter: str | None) -> None:
        """Drop all texts of an adapter, which nobody uses any more."""
        root = self._roots.pop(adapter, None)
        for node in _below(root) if root else ():
            node.parent = None  # so that no leaf of it is taken for one
            self._pool.release([node.block])

    @property
    def num_pinned(self) -> int:
        return sum(node.is_pinned for node in self.nodes())

    def nodes(self) -> Iterator[_Node]:
        """Every block that is kept."""
        for root in self._roots.values():
            yield from _below(root)

    def _root(self, adapter: str | None) -> _Node:
        return self._roots.setdefault(adapter, _Node((), -1, None))

    def _add(self, parent: _Node, ids: tuple[int, ...], block: int) -> _Node:
        """A new child; shorter siblings that it continues are dropped."""
        node = _Node(ids, block, parent)
        self._pool.share([block])
        siblings = parent.children.setdefault(ids[0], [])
        for sibling in [other for other in siblings if other.ids == ids[: len(other.ids)]]:
            node.is_pinned |= sibling.is_pinned
            self._remove(sibling)
        parent.children.setdefault(ids[0], []).append(node)
        return node

    def _remove(self, node: _Node) -> None:
        parent = node.parent
        assert parent is not None
        assert not node.children
        siblings = parent.children[node.ids[0]]
        siblings.remove(node)
        if not siblings:
            del parent.children[node.ids[0]]
        node.parent = None
        self._pool.release([node.block])
        if not parent.children and parent.parent is not None:
            self._note_leaf(parent)

    def _touch(self, node: _Node) -> None:
        node.used = next(self._clock)
        if not node.children:
            self._note_leaf(node)

    def _note_leaf(self, node: _Node) -> None:
        if len(self._leaves) > 8 * self._pool.num_blocks:
            self._leaves = [
                entry for entry in self._leaves if entry[2].parent is not None and entry[0] == entry[2].used
            ]
            heapq.heapify(self._leaves)
        heapq.heappush(self._leaves, (node.used, next(self._serial), node))


def _below(root: _Node) -> Iterator[_Node]:
    open_nodes = [root]
    while open_nodes:
        for siblings in open_nodes.pop().children.values():
            yield from siblings
            open_nodes += siblings


def _nearest(node: _Node, ids: tuple[int, ...]) -> tuple[_Node | None, int]:
    """The child that has the most beginning tokens in common with ids, and how many."""
    best, longest = None, 0
    for child in node.children.get(ids[0], ()) if ids else ():
        length = common_prefix(child.ids, ids)
        if length > longest:
            best, longest = child, length
    return best, longest


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many beginning tokens are equal."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(left), len(right)))
