"""Which Chinese tokens translate which English ones: IBM model 1 both ways over the parallel rows.

Source: Brown et al. 1993, "The mathematics of statistical machine translation", model 1.
"""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
MAX_TOKENS = 48  # a longer row aligns too loosely
COPIES = 100  # how many entries a token has at most in proportion to its probability


def lexicon(
    pairs: list[tuple[Ids, Ids]], vocab_size: int, *, iterations: int = 6, least: float = 0.08
) -> dict[int, Ids]:
    """Token to translations, each repeated in proportion to its probability, in both directions.

    A translation counts when the geometric mean of p(zh|en) and p(en|zh) is `least` or more. Tokens that stand
    on both sides, such as numbers, translate to themselves.
    """
    kept = [
        (np.unique(en), np.unique(zh)) for en, zh in pairs if 0 < len(en) <= MAX_TOKENS and 0 < len(zh) <= MAX_TOKENS
    ]
    english = np.concatenate([np.repeat(en, len(zh)) for en, zh in kept]).astype(np.int64)
    chinese = np.concatenate([np.tile(zh, len(en)) for en, zh in kept]).astype(np.int64)
    row = np.repeat(np.arange(len(kept)), [len(en) * len(zh) for en, zh in kept])
    links, link = np.unique(english * vocab_size + chinese, return_inverse=True)
    left, right = links // vocab_size, links % vocab_size
    forward = _model_1(link, left, row * vocab_size + chinese, len(links), iterations)
    backward = _model_1(link, right, row * vocab_size + english, len(links), iterations)
    score = np.sqrt(forward * backward)
    found: dict[int, list[int]] = {}
    for index in np.flatnonzero(score >= least).tolist():
        copies = max(1, round(score[index] * COPIES))
        found.setdefault(int(left[index]), []).extend([int(right[index])] * copies)
        found.setdefault(int(right[index]), []).extend([int(left[index])] * copies)
    return {token: np.array(others, np.int32) for token, others in found.items()}


def _model_1(
    link: NDArray[np.int64], source: NDArray[np.int64], slot: NDArray[np.int64], num_links: int, iterations: int
) -> NDArray[np.float64]:
    """p(target | source) of each link; `slot` numbers the target token in its row that an occurrence explains."""
    _, slot = np.unique(slot, return_inverse=True)
    probability = np.ones(num_links)
    for _ in range(iterations):
        weight = probability[link]
        weight /= np.bincount(slot, weight)[slot]  # each target token is shared among the row's source tokens
        counts = np.bincount(link, weight, minlength=num_links)
        probability = counts / np.bincount(source, counts)[source]
    return probability
