"""The radix tree of blocks: matches in tokens, growth, and what is forgotten first."""

import random

import pytest

from core.inference.block_pool import BlockPool
from core.inference.prefix_cache import PrefixCache
from core.inference.runner import BLOCK_TOKENS, num_blocks_for


class Kept:
    """A cache and the means to put texts into it."""

    def __init__(self, num_blocks: int) -> None:
        self.pool = BlockPool(num_blocks)
        self.cache = PrefixCache(self.pool)

    def insert(self, ids: list[int], adapter: str | None = None) -> list[int]:
        blocks = self.pool.take(num_blocks_for(len(ids)))
        self.cache.insert(ids, blocks, adapter)
        self.pool.release(blocks)
        return blocks

    def length(self, ids: list[int], adapter: str | None = None) -> int:
        return self.cache.match(ids, adapter).num_tokens


def ids_of(length: int, seed: int) -> list[int]:
    return [seed, *random.Random(seed).choices(range(1000), k=length - 1)]


@pytest.mark.parametrize("common", [0, 1, 31, 32, 33, 63, 64, 70])
def test_a_match_ends_at_the_very_token_where_texts_part(common: int) -> None:
    kept = Kept(20)
    text = ids_of(70, 1)
    blocks = kept.insert(text)
    match = kept.cache.match([*text[:common], *ids_of(40, 2)], None)
    assert match.num_tokens == common
    assert match.blocks == blocks[: common // BLOCK_TOKENS]
    assert match.source == (blocks[common // BLOCK_TOKENS] if common % BLOCK_TOKENS else None)


def test_a_text_that_grows_is_kept_once() -> None:
    kept = Kept(20)
    text = ids_of(90, 1)
    for length in (1, 10, 40, 41, 64, 90):
        kept.insert(text[:length])
        assert kept.length(text) == length
        assert kept.pool.num_blocks - kept.pool.num_free == num_blocks_for(length)
    kept.insert(text[:50])
    assert kept.length(text) == 90
    assert kept.pool.num_blocks - kept.pool.num_free == 3


def test_the_least_recently_used_leaf_goes_first_and_its_end_before_its_beginning() -> None:
    kept = Kept(6)
    old, used, new = ids_of(64, 1), ids_of(64, 2), ids_of(64, 3)
    for text in (old, used, new):
        kept.insert(text)
    kept.cache.match(old, None)
    assert kept.cache.make_room(1)
    assert [kept.length(text) for text in (old, used, new)] == [64, 32, 64]
    kept.cache.match(old, None)
    assert kept.cache.make_room(3)
    assert [kept.length(text) for text in (new, used, old)] == [32, 0, 64]


def test_blocks_that_a_sequence_holds_are_not_forgotten() -> None:
    kept = Kept(4)
    held, other = ids_of(64, 1), ids_of(64, 2)
    blocks = kept.insert(held)
    kept.pool.share(blocks)
    kept.insert(other)
    assert not kept.cache.make_room(3)
    assert [kept.length(held), kept.length(other)] == [64, 0]
    kept.pool.release(blocks)
    assert kept.cache.make_room(4)


def test_a_pinned_text_outlives_all_others() -> None:
    kept = Kept(5)
    pinned = ids_of(40, 1)
    kept.insert(pinned)
    kept.cache.pin(pinned, None)
    kept.insert(ids_of(60, 2))
    assert not kept.cache.make_room(4)
    assert kept.length(pinned) == 40
    assert kept.cache.num_pinned == 2
    kept.insert([*pinned, 5, 6])
    assert not kept.cache.make_room(4)
    assert kept.length([*pinned, 5, 6]) == 42


def test_adapters_have_trees_of_their_own() -> None:
    kept = Kept(8)
    text = ids_of(50, 1)
    kept.insert(text, adapter="a")
    assert [kept.length(text), kept.length(text, "a"), kept.length(text, "b")] == [0, 50, 0]


def test_forgetting_an_adapter_frees_its_blocks_and_no_others() -> None:
    kept = Kept(8)
    text = ids_of(50, 1)
    for adapter in (None, "a"):
        kept.insert(text, adapter=adapter)
    kept.insert([*text[:40], 7, 8], adapter="a")
    kept.cache.forget("a")
    kept.cache.forget("never seen")
    assert [kept.length(text), kept.length(text, "a"), kept.pool.num_free] == [50, 0, 6]
    assert kept.cache.make_room(8)


def test_a_free_block_cannot_be_released_or_shared() -> None:
    pool = BlockPool(3)
    blocks = pool.take(2)
    pool.release(blocks)
    for wrong in (pool.release, pool.share):
        with pytest.raises(AssertionError, match="is free"):
            wrong(blocks[:1])
