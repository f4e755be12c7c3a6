"""Equal and similar documents: which to drop, and which must stay on one side of the validation split.

Each document is known by a hash of its normalised text and by a MinHash signature (Broder 1997) of its
5-token shingles, a token being a word or one Chinese character. Similar documents are found by locality
sensitive hashing: equal bands of the signature propose a pair, the share of equal values estimates
its Jaccard similarity.

Legend: N documents, P = NUM_PERMUTATIONS.
"""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import rensa
from numpy.typing import NDArray

NUM_PERMUTATIONS = 128
BAND_ROWS = 2
SHINGLE_TOKENS = 5
# Documents this similar share text: the three English Wikipedia cuts of different years do.
CLUSTER_THRESHOLD = 0.2
SIGNATURE_SEED = 42
PAIRS_AT_ONCE = 1 << 14
_TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W\u3400-\u9fff\uf900-\ufaff]+")

Signatures = NDArray[np.uint32]  # (N, P)
Hashes = NDArray[np.uint64]  # (N,)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """`kept` marks documents to keep, `clusters` names the group of similar ones that each belongs to."""

    kept: NDArray[np.bool_]  # (N,)
    clusters: NDArray[np.int64]  # (N,) the number of the group's first document
    num_exact: int
    num_near: int
    near_pairs: list[tuple[int, int]]  # (dropped, kept) examples


def content_hash(text: str) -> int:
    """64 bits of the text without regard to case and white space."""
    normal = " ".join(text.casefold().split())
    return int.from_bytes(hashlib.blake2b(normal.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def shingles(text: str) -> set[str]:
    """The runs of SHINGLE_TOKENS tokens in a text; a shorter one is one run."""
    tokens = _TOKEN.findall(text.casefold())
    count = max(len(tokens) - SHINGLE_TOKENS + 1, 1)
    return {" ".join(tokens[i : i + SHINGLE_TOKENS]) for i in range(count)}


def signature(text: str) -> NDArray[np.uint32]:
    """MinHash values of a text, (P,)."""
    minhash = rensa.RMinHash(num_perm=NUM_PERMUTATIONS, seed=SIGNATURE_SEED)
    minhash.update(sorted(shingles(text)))
    return np.asarray(minhash.digest(), dtype=np.uint32)


def find_duplicates(
    hashes: Hashes, signatures: Signatures, *, threshold: float, groups: Hashes | None = None
) -> Duplicates:
    """Keep the first of equal documents and of those at least `threshold` similar.

    Documents of one of the `groups`, a number for each document, belong together however little their texts do.
    """
    count = len(hashes)
    _, first_indices, equals = np.unique(hashes, return_index=True, return_inverse=True)
    firsts = first_indices[equals]  # (N,) the first of the documents equal to each
    kept = firsts == np.arange(count)
    parents = firsts.astype(np.int64)
    near: dict[int, int] = {}
    for one, other, similarity in _similar_pairs(signatures):
        left, right = sorted((int(firsts[one]), int(firsts[other])))
        _join(parents, left, right)
        if left != right and similarity >= threshold and threshold < 1:
            near.setdefault(right, left)
    if groups is not None:
        _, leaders, members = np.unique(groups, return_index=True, return_inverse=True)
        for document, leader in enumerate(leaders[members].tolist()):
            _join(parents, document, leader)
    # A document is dropped for a neighbour only if that one stays.
    dropped = [(right, left) for right, left in sorted(near.items()) if left not in near]
    kept[[right for right, _ in dropped]] = False
    clusters = np.fromiter((_root(parents, i) for i in range(count)), dtype=np.int64, count=count)
    return Duplicates(kept, clusters, count - len(first_indices), len(dropped), dropped[:20])


def _similar_pairs(signatures: Signatures) -> list[tuple[int, int, float]]:
    """(earlier, later, estimated similarity) of pairs that share a band and reach CLUSTER_THRESHOLD.

    Of the documents that share a band, each is compared with the first and with the one before it.
    """
    pairs: dict[tuple[int, int], float] = {}
    for band in range(NUM_PERMUTATIONS // BAND_ROWS):
        columns = np.ascontiguousarray(signatures[:, band * BAND_ROWS : (band + 1) * BAND_ROWS])
        keys = columns.view([("", np.uint32)] * BAND_ROWS).ravel()
        order = np.argsort(keys, kind="stable")
        is_first = np.concatenate(([True], keys[order][1:] != keys[order][:-1]))
        firsts = order[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
        later = np.flatnonzero(~is_first)
        left = np.concatenate((firsts[later], order[later - 1]))
        right = np.concatenate((order[later], order[later]))
        for start in range(0, len(left), PAIRS_AT_ONCE):
            some_left, some_right = left[start : start + PAIRS_AT_ONCE], right[start : start + PAIRS_AT_ONCE]
            similarity = (signatures[some_left] == signatures[some_right]).mean(axis=1)
            for i in np.flatnonzero(similarity >= CLUSTER_THRESHOLD):
                pairs[(int(some_left[i]), int(some_right[i]))] = float(similarity[i])
    return [(left, right, similarity) for (left, right), similarity in sorted(pairs.items())]


def _root(parents: NDArray[np.int64], i: int) -> int:
    while parents[i] != i:
        parents[i] = parents[parents[i]]
        i = int(parents[i])
    return i


def _join(parents: NDArray[np.int64], left: int, right: int) -> None:
    a, b = _root(parents, left), _root(parents, right)
    parents[max(a, b)] = min(a, b)


def choose_validation(
    duplicates: Duplicates, hashes: Hashes, sizes: NDArray[np.int64], *, max_bytes: int, seed: int
) -> NDArray[np.bool_]:
    """Whole clusters, in an order that depends on their content and the seed, up to `max_bytes`.

    A cluster that does not fit is passed over, so one huge group cannot eat the training set.
    """
    kept = np.flatnonzero(duplicates.kept)
    _, groups = np.unique(duplicates.clusters[kept], return_inverse=True)  # (kept,) group of each document
    num_groups = int(groups.max(initial=-1)) + 1
    group_sizes = np.bincount(groups, weights=sizes[kept], minlength=num_groups)
    first_hashes = np.full(num_groups, np.iinfo(np.uint64).max, dtype=np.uint64)
    np.minimum.at(first_hashes, groups, hashes[kept])
    order = np.argsort(np.fromiter((_mix(int(value), seed) for value in first_hashes), np.uint64, num_groups))
    is_chosen = np.zeros(num_groups, dtype=bool)
    used = 0
    for group in order:
        if used + group_sizes[group] <= max_bytes:
            is_chosen[group] = True
            used += int(group_sizes[group])
    chosen = np.zeros(len(hashes), dtype=bool)
    chosen[kept] = is_chosen[groups]
    return chosen


def _mix(value: int, seed: int) -> int:
    digest = hashlib.blake2b(value.to_bytes(8, "little"), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "big")
