"""Who holds which block of the cache: a count of owners for each, and the free ones."""

import heapq
from collections.abc import Iterable


class BlockPool:
    """Blocks 0 … num_blocks - 1. A sequence and a cached prefix each own a block once."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self._free = list(range(num_blocks))  # a heap: low blocks first, so that memory never used stays untouched
        self._owners = [0] * num_blocks

    @property
    def num_free(self) -> int:
        return len(self._free)

    def take(self, count: int) -> list[int]:
        """Own so many free blocks."""
        assert count <= len(self._free), (count, len(self._free))
        blocks = [heapq.heappop(self._free) for _ in range(count)]
        for block in blocks:
            self._owners[block] = 1
        return blocks

    def share(self, blocks: Iterable[int]) -> None:
        """Become one more owner of each."""
        for block in blocks:
            assert self._owners[block], f"block {block} is free"
            self._owners[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Own each no longer; what nobody owns is free."""
        for block in blocks:
            assert self._owners[block], f"block {block} is free already"
            self._owners[block] -= 1
            if not self._owners[block]:
                heapq.heappush(self._free, block)

    def num_owners(self, block: int) -> int:
        return self._owners[block]
