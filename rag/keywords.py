"""The keyword leg: which terms of a question are asked, and how well a passage matches them.

FTS5 chooses candidates by the question's rarest terms; asking for all of them costs most of its time on words that are
everywhere and tell nothing. The candidates are then scored with every term. BM25: Robertson & Zaragoza 2009, "The
Probabilistic Relevance Framework", eq. 3.15; idf as in Lucene, never negative.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rag.rows import ChunkRow, Filter
from rag.store_reader import StoreReader
from rag.text import is_han, terms

K1, B = 1.2, 0.75
MAX_ASKED_TERMS = 12
MAX_POSTINGS = 20_000  # of the terms asked, together
WINDOWS = (12, 25, 50)  # words, within which terms are close
SAMPLE = 1000  # passages that tell how many have a character
GROWTH = 1.2  # of the library, after which the sample is taken anew
HISTORY_WEIGHTS = (0.4, 0.2)  # of the last question before this one, and of the one before that


@dataclass(frozen=True, slots=True)
class Question:
    """The terms of a question in their order, and how much the presence of each tells."""

    terms: tuple[str, ...]
    weights: dict[str, float]  # idf, times the weight of the turn that the term is from
    frequencies: dict[str, int]
    characters: dict[str, float]  # idf of the Chinese characters

    @property
    def total_weight(self) -> float:
        return sum(self.weights.values())

    def match_query(self) -> str:
        """The FTS5 query of the rarest terms; empty if the library has none of them."""
        asked, postings = list[str](), 0
        for term in sorted(self.weights, key=lambda term: self.frequencies[term]):
            postings += self.frequencies[term]
            if len(asked) == MAX_ASKED_TERMS or (asked and postings > MAX_POSTINGS):
                break
            if self.frequencies[term]:
                asked.append(f'"{term}"')
        return " OR ".join(asked)


class Vocabulary:
    """How many passages have a term, remembered until the library changes."""

    def __init__(self, store: StoreReader) -> None:
        self._store = store
        self._generation = -1
        self._num_chunks = 0
        self._known: dict[str, int] = {}
        self._in_sample: Counter[str] = Counter()
        self._sampled_size, self._sample_length = -1, 0

    def question(self, query: str, history: Sequence[str] = ()) -> Question:
        """The terms of a question; those of earlier ones count less."""
        self.refresh()
        own = tuple(terms(query))
        turn_weights = dict.fromkeys(own, 1.0)
        for weight, earlier in zip(HISTORY_WEIGHTS, reversed(history), strict=False):
            for term in terms(earlier):
                turn_weights.setdefault(term, weight)
        frequencies = {term: self._frequency(term) for term in turn_weights}
        weights = {term: weight * self.idf(frequencies[term]) for term, weight in turn_weights.items()}
        return Question(own, weights, frequencies, self._characters(own))

    def idf(self, frequency: int) -> float:
        """How much a term tells that so many passages have."""
        return _idf(frequency, self._num_chunks)

    def rarity(self) -> float:
        """How much a term tells that one passage has, over one that none has: from 0 to 1, more in a large library."""
        self.refresh()
        return self.idf(1) / self.idf(0) if self._num_chunks else 0.0

    def idf_of(self, term: str) -> float:
        return self.idf(self._frequency(term))

    def _characters(self, own: Iterable[str]) -> dict[str, float]:
        """The idf of each Chinese character of a question, from a sample of the passages."""
        wanted = {character for term in own if is_han(term[0]) for character in term}
        if not wanted:
            return {}
        size = int(math.log(max(self._num_chunks, 1), GROWTH))
        if size != self._sampled_size:
            sample = self._store.sample_chunks(SAMPLE, Filter())
            self._in_sample = Counter(character for chunk in sample for character in set(chunk.terms))
            self._sampled_size, self._sample_length = size, len(sample)
        return {character: _idf(self._in_sample[character], self._sample_length) for character in wanted}

    def _frequency(self, term: str) -> int:
        if term not in self._known:
            self._known[term] = self._store.document_frequency(term)
        return min(self._known[term], self._num_chunks)

    def refresh(self) -> None:
        """See what was added since; `idf_of` does not look by itself."""
        generation = self._store.generation()
        if generation != self._generation:
            self._num_chunks, self._known = self._store.num_chunks(), {}
            self._generation = generation


def _idf(frequency: int, count: int) -> float:
    return math.log(1 + (count - frequency + 0.5) / (frequency + 0.5))


@dataclass(frozen=True, slots=True)
class Match:
    """How a passage matches a question, each from 0 to 1.

    `bm25` is the score over its bound, `coverage` the share of the terms' weight that is there, `proximity` the share
    that stands close together, in the best place of the passage, and `adjacency` the share of the question's
    neighbouring pairs of terms that are neighbours there too. `characters` is BM25 over single Chinese characters, as
    a word may be said with one of its two.
    """

    bm25: float = 0.0
    coverage: float = 0.0
    proximity: float = 0.0
    adjacency: float = 0.0
    characters: float = 0.0


def match_all(question: Question, chunks: Iterable[ChunkRow]) -> list[Match]:
    """Match passages with a question."""
    split = [chunk.terms.split(" ") for chunk in chunks]
    mean_length = sum(map(len, split)) / max(len(split), 1)
    pairs = {pair: question.weights[pair[0]] + question.weights[pair[1]] for pair in pairwise(question.terms)}
    return [_match(question, words, mean_length, pairs) for words in split]


def _match(question: Question, words: list[str], mean_length: float, pairs: Mapping[tuple[str, str], float]) -> Match:
    weights, total = question.weights, question.total_weight
    places = [(place, word) for place, word in enumerate(words) if word in weights]
    if not places or not total:
        return Match()
    counts = Counter(word for _, word in places)
    norm = K1 * (1 - B + B * len(words) / mean_length)
    bm25 = _saturated(weights, counts, norm)
    coverage = sum(weights[term] for term in counts)
    near = sum(_best_window(places, weights, width) for width in WINDOWS) / len(WINDOWS)
    neighbours = {(word, other) for (place, word), (after, other) in pairwise(places) if after == place + 1}
    adjacent = sum(weight for pair, weight in pairs.items() if pair in neighbours)
    adjacency = adjacent / (sum(pairs.values()) or 1.0)
    characters = _saturated(question.characters, _characters_of(words, question.characters), norm)
    characters /= sum(question.characters.values()) or 1.0
    return Match(bm25 / total, coverage / total, near / total, adjacency, characters)


def _saturated(weights: Mapping[str, float], counts: Mapping[str, int], norm: float) -> float:
    """BM25's sum: a second occurrence counts less than the first."""
    return sum(weights[term] * count / (count + norm) for term, count in counts.items())


def _characters_of(words: Sequence[str], wanted: Mapping[str, float]) -> Counter[str]:
    """The single characters of overlapping pairs: the first of each, and the second where the next does not begin."""
    if not wanted:
        return Counter()
    counts = Counter(word[0] for word in words if word[0] in wanted)
    ends = (word[1] for word, after in pairwise((*words, " ")) if len(word) == 2 and word[1] != after[0])
    counts.update(character for character in ends if character in wanted)
    return counts


def _best_window(places: Sequence[tuple[int, str]], weights: Mapping[str, float], width: int) -> float:
    """The weight of the terms in the best `width` words in a row."""
    inside: Counter[str] = Counter()
    first, weight, best = 0, 0.0, 0.0
    for place, word in places:
        inside[word] += 1
        if inside[word] == 1:
            weight += weights[word]
        while places[first][0] < place - width:
            left = places[first][1]
            inside[left] -= 1
            if not inside[left]:
                weight -= weights[left]
            first += 1
        best = max(best, weight)
    return best
