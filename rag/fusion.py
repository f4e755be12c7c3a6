"""One number from what both legs say of a passage.

Ranks alone would do (reciprocal rank fusion), but scores say more: that a passage has every rare word of the question
close together, or that nothing in the library is anywhere near it. The weights come from `launch.py bench rag --tune`:
a softmax over the candidates of each question, fitted on half of the articles of each question set.
"""

from dataclasses import dataclass, replace

from rag.keywords import Match
from rag.rows import ChunkRow
from rag.text import han_share

MAX_DEVIATIONS = 12.0
HAN_SHARE = 0.5  # of a question's letters, from which it is Chinese


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage and what speaks for it.

    `deviations` counts how far its cosine lies above that of passages at large, so that an embedder whose cosines are
    all alike weighs as much as one whose cosines are spread; `named` is the share of the question that is its file's
    name.
    """

    chunk: ChunkRow
    match: Match
    cosine: float
    deviations: float
    keyword_rank: int | None
    dense_rank: int | None
    named: float = 0.0


@dataclass(frozen=True, slots=True)
class Fusion:
    """The weight of each sign that a passage answers."""

    bm25: float
    coverage: float
    proximity: float
    adjacency: float
    similarity: float
    characters: float = 0.0
    name: float = 1.0

    def score(self, candidate: Candidate) -> float:
        """How much speaks for a passage."""
        match = candidate.match
        return (
            self.bm25 * match.bm25
            + self.coverage * match.coverage
            + self.proximity * match.proximity
            + self.adjacency * match.adjacency
            + self.characters * match.characters
            + self.meaning(candidate.deviations)
            + self.name * candidate.named
        )

    def meaning(self, deviations: float) -> float:
        """How much of that is said by the vectors."""
        return self.similarity * max(-MAX_DEVIATIONS, min(MAX_DEVIATIONS, deviations))


# Both sum to the same without the vectors, as the gate compares scores.
LATIN = Fusion(bm25=1.0, coverage=1.006, proximity=1.631, adjacency=0.933, similarity=0.189)
HAN = Fusion(bm25=0.654, coverage=1.174, proximity=0.999, adjacency=0.395, similarity=0.114, characters=1.349)


def fusion_for(query: str, meaning_weight: float = 1.0) -> Fusion:
    """The weights for the script of a question, with the vectors counting so many times as much as usual."""
    fusion = HAN if han_share(query) >= HAN_SHARE else LATIN
    return replace(fusion, similarity=fusion.similarity * meaning_weight)
