"""Passages for a question: by words and by meaning, always both, then one order.

Each leg proposes candidates; each candidate is then scored by both legs, whichever proposed it (`rag.fusion`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rag.duplicates import Shown
from rag.fusion import Candidate, fusion_for
from rag.hits import Elsewhere, Hit, Leg, touches
from rag.keywords import Question, Vocabulary, match_all
from rag.rows import ChunkRow, DocumentRow, Filter
from rag.store_reader import StoreReader
from rag.vector_index import VectorIndex

if TYPE_CHECKING:
    from rag.embedding import Embedder

EVERYTHING = Filter()
CANDIDATES = 60  # of each leg
RERANKED = 20
HISTORY_SHARE = 0.3  # of the last question's vector in that of a follow-up
LOOKED_AT = 30  # candidates, once there are hits enough: they may repeat one
MAX_ALSO = 20  # places that are named
MAX_MERGED = 3  # passages that become one hit


class Reranker(Protocol):
    """Reads a question and a passage together, as a cross-encoder does."""

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """How well each passage answers, from 0 to 1."""


class Retriever:
    """Searches one library with one embedder; without vectors of it, by words alone."""

    def __init__(
        self,
        store: StoreReader,
        index: VectorIndex,
        embedder: "Embedder",
        *,
        reranker: Reranker | None = None,
    ) -> None:
        self._store, self._index, self._embedder = store, index, embedder
        self._reranker = reranker
        self.vocabulary = Vocabulary(store)

    def search(self, query: str, k: int, *, allowed: Filter = EVERYTHING, history: Sequence[str] = ()) -> list[Hit]:
        """The best passages, best first; what nearly repeats a better one is left out, neighbours are one."""
        candidates = self.candidates(query, allowed=allowed, history=history)
        fusion = fusion_for(query, self._store.meaning_weight())
        scored = [(fusion.score(candidate), candidate) for candidate in candidates]
        scored.sort(key=lambda pair: -pair[0])
        if self._reranker is not None:
            scored = self._rerank(self._reranker, query, scored)
        contents = list({candidate.chunk.content_id for _, candidate in scored})
        documents = self._store.documents_of_contents(contents, allowed)
        return self._hits(scored, documents, k)

    def candidates(self, query: str, *, allowed: Filter, history: Sequence[str] = ()) -> list[Candidate]:
        """The passages that either leg proposes, each with the signs of both."""
        question = self.vocabulary.question(query, history)
        by_words = self.by_words(question, allowed)
        vector = self.query_vector(query, history)
        by_meaning = self.by_meaning(vector, allowed)
        mean, deviation = self._index.background(vector)
        keyword_ranks = {id_: rank for rank, (id_, _) in enumerate(by_words, 1)}
        dense_ranks = {id_: rank for rank, (id_, _) in enumerate(by_meaning, 1)}
        chunks = list(self._store.chunks(list(keyword_ranks | dense_ranks)).values())
        cosines = self._index.similarities(vector, [chunk.id for chunk in chunks])
        named = self._named_contents(question)
        return [
            Candidate(
                chunk,
                match,
                cosine,
                (cosine - mean) / deviation,
                keyword_ranks.get(chunk.id),
                dense_ranks.get(chunk.id),
                named.get(chunk.content_id, 0.0),
            )
            for chunk, match, cosine in zip(chunks, match_all(question, chunks), cosines, strict=True)
        ]

    def by_words(self, question: Question, allowed: Filter) -> list[tuple[int, float]]:
        """Ids and BM25 scores of the passages that share the rarest terms of a question, best first."""
        words = question.match_query()
        return self._store.keyword_search(words, CANDIDATES, allowed) if words else []

    def by_meaning(self, vector: NDArray[np.float32], allowed: Filter) -> list[tuple[int, float]]:
        """Ids and cosines of the passages nearest to a question's vector, shape (D,), best first."""
        return self._index.search(vector, CANDIDATES, self._store.allowed_chunk_ids(allowed) if allowed else None)

    def best_cosines(self, queries: Sequence[str], allowed: Filter = EVERYTHING) -> list[float]:
        """How near the nearest passage of each query is."""
        ids = self._store.allowed_chunk_ids(allowed) if allowed else None
        vectors = self._embedder.encode_queries(queries) if queries else ()
        return [cosine for vector in vectors for _, cosine in self._index.search(vector, 1, ids)]

    def query_vector(self, query: str, history: Sequence[str] = ()) -> NDArray[np.float32]:
        """The question's vector, shape (D,); a follow-up leans towards the question before it."""
        if not history:
            return self._embedder.encode_queries([query])[0]
        own, before = self._embedder.encode_queries([query, history[-1]])
        mixed = own + HISTORY_SHARE * before
        return mixed / max(float(np.linalg.norm(mixed)), 1e-9)

    def _named_contents(self, question: Question) -> dict[int, float]:
        """The contents of the documents whose file name the question says, and the name's share of the question."""
        asked = " OR ".join(f'"{term}"' for term in dict.fromkeys(question.terms))
        named = self._store.named(asked) if asked else []
        return {
            content_id: sum(question.weights[term] for term in name_terms) / (question.total_weight or 1.0)
            for content_id, name_terms in named
            if name_terms <= question.weights.keys()
        }

    def _rerank(
        self, reranker: Reranker, query: str, scored: Sequence[tuple[float, Candidate]]
    ) -> list[tuple[float, Candidate]]:
        """Let the reranker order the first ones; the others follow in theirs."""
        head = [candidate for _, candidate in scored[:RERANKED]]
        scores = reranker.score(query, [candidate.chunk.text for candidate in head])
        first = sorted(zip(scores, head, strict=True), key=lambda pair: -pair[0])
        return [*first, *((score - 10.0, candidate) for score, candidate in scored[RERANKED:])]

    def _hits(
        self,
        scored: Sequence[tuple[float, Candidate]],
        documents: Mapping[int, list[DocumentRow]],
        k: int,
    ) -> list[Hit]:
        hits: list[Hit] = []
        merged: list[int] = []
        shown = Shown()
        is_full = False
        for place, (score, candidate) in enumerate(scored):
            chunk = candidate.chunk
            if is_full and place >= LOOKED_AT:
                break
            if chunk.content_id not in documents:
                continue
            first, *copies = documents[chunk.content_id]
            hit = _hit(candidate, first, score)
            near = next((i for i, other in enumerate(hits) if touches(hit, other) and merged[i] < MAX_MERGED), None)
            if near is not None and not is_full:
                hits[near], merged[near] = self._merge(hits[near], hit), merged[near] + 1
            elif (repeated := shown.repeated(chunk)) is not None:
                hits[repeated] = _with_also(hits[repeated], chunk, [first, *copies])
                continue
            elif len(hits) < k:
                near = len(hits)
                hits.append(_with_also(hit, chunk, copies))
                merged.append(1)
            else:
                is_full = True
                continue
            shown.add(chunk, near)
        return hits

    def _merge(self, hit: Hit, other: Hit) -> Hit:
        """One hit for two passages that touch; it keeps what is said of the better one."""
        start, end = min(hit.start, other.start), max(hit.end, other.end)
        lines = sorted({*hit.lines, *other.lines}, key=lambda line: line.start)
        page = hit.page if hit.start <= other.start else other.page
        text = self._store.text(hit.content_id)[start:end]
        return replace(hit, start=start, end=end, text=text, lines=tuple(lines), page=page)


def _with_also(hit: Hit, chunk: ChunkRow, documents: Sequence[DocumentRow]) -> Hit:
    """A hit that names the documents in which a passage stands too."""
    places = (
        Elsewhere(document.path, document.collection, document.id, chunk.page, chunk.start, chunk.end)
        for document in documents
    )
    return replace(hit, also=(*hit.also, *places)[:MAX_ALSO]) if documents else hit


def _hit(candidate: Candidate, document: DocumentRow, score: float) -> Hit:
    chunk = candidate.chunk
    return Hit(
        path=document.path,
        collection=document.collection,
        title=document.title,
        kind=document.kind,
        document_id=document.id,
        content_id=chunk.content_id,
        chunk_id=chunk.id,
        page=chunk.page,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        headings=chunk.headings,
        score=score,
        coverage=candidate.match.coverage,
        deviations=candidate.deviations,
        legs={
            "keyword": Leg(candidate.keyword_rank, candidate.match.bm25),
            "dense": Leg(candidate.dense_rank, candidate.cosine),
        },
        lines=chunk.lines,
    )
