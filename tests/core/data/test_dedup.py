"""Equal and similar documents, and a split by whole groups of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.dedup import Duplicates, Hashes, choose_validation, content_hash, find_duplicates, signature


def words(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in numbers)


def found(texts: list[str], *, threshold: float = 0.85) -> tuple[Duplicates, Hashes]:
    hashes = np.array([content_hash(text) for text in texts], dtype=np.uint64)
    return find_duplicates(hashes, np.stack([signature(text) for text in texts]), threshold=threshold), hashes


def test_case_and_white_space_do_not_make_a_difference() -> None:
    assert content_hash("Two  Words\n") == content_hash("two words")
    assert content_hash("two words") != content_hash("two word s")


@pytest.mark.parametrize("shared", [0, 100, 200, 300])
def test_equal_values_of_signatures_estimate_the_share_of_common_shingles(shared: int) -> None:
    left = signature(words(*range(400)))
    right = signature(words(*range(400 - shared, 800 - shared)))
    common = max(shared - 4, 0)
    expected = common / (2 * 396 - common)
    assert abs(float((left == right).mean()) - expected) < 0.12


def test_the_first_of_equal_and_of_similar_documents_stays() -> None:
    base = words(*range(300))
    other = words(*range(1000, 1300))
    texts = [base, other, base.upper(), base + " end", words(*range(2000, 2300))]
    duplicates, _ = found(texts)
    assert duplicates.kept.tolist() == [True, True, False, False, True]
    assert (duplicates.num_exact, duplicates.num_near) == (1, 1)
    assert duplicates.near_pairs == [(3, 0)]
    assert duplicates.clusters.tolist() == [0, 1, 0, 0, 4]


def test_of_many_documents_that_differ_in_marks_only_one_stays() -> None:
    base = words(*range(300))
    duplicates, _ = found([base, f"{base}.", f"{base}!", f"{base}?", f"{base};", f"{base}!"])
    assert duplicates.kept.tolist() == [True] + 5 * [False]
    assert (duplicates.num_exact, duplicates.num_near) == (1, 4)


def test_a_threshold_of_one_keeps_what_is_only_similar() -> None:
    base = words(*range(300))
    duplicates, _ = found([base, base + " end", base], threshold=1.0)
    assert duplicates.kept.tolist() == [True, True, False]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.integers(1, 500)), min_size=1, max_size=40),
    st.integers(0, 4000),
    st.integers(0, 9),
)
def test_the_split_takes_whole_groups_within_the_limit(
    documents: list[tuple[int, bool, int]], max_bytes: int, seed: int
) -> None:
    hashes = np.array([content_hash(str(number)) for number in range(len(documents))], dtype=np.uint64)
    groups = np.array([group for group, _, _ in documents])
    kept = np.array([is_kept for _, is_kept, _ in documents])
    sizes = np.array([size for _, _, size in documents])
    duplicates = Duplicates(kept, groups, 0, 0, [])
    chosen = choose_validation(duplicates, hashes, sizes, max_bytes=max_bytes, seed=seed)
    assert not (chosen & ~kept).any()
    assert sizes[chosen].sum() <= max_bytes
    assert not set(groups[chosen]) & set(groups[kept & ~chosen])
    again = choose_validation(duplicates, hashes, sizes, max_bytes=max_bytes, seed=seed)
    assert np.array_equal(chosen, again)
