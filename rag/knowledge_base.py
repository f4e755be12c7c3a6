"""The library's only door: files in, passages out.

    kb = KnowledgeBase(folder)
    kb.add(["~/Documents/contracts", "notes.md"])
    for hit in kb.search("When does the lease end?", k=5):
        print(hit.path, hit.page, hit.text)

One program writes at a time, others may search. Its folder holds `library.db`, which is the truth, `vectors.cache`,
which can be deleted, and `library.lock`.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from core.errors import ConfigError, DataError
from rag.citations import Answer, Attributor, Sentence
from rag.documents import Box
from rag.gate import Chance, Gate, Signs
from rag.hits import Hit
from rag.indexing import AddReport, FileResult, Indexer, Job, Progress
from rag.inventory import inventory
from rag.parsing import is_supported, render_page
from rag.retrieval import Reranker, Retriever
from rag.rows import ChunkRow, DocumentRow, Filter
from rag.self_test import SelfTest, self_test
from rag.store import Store
from rag.vector_index import VectorIndex
from rag.walk import absolute, walk

if TYPE_CHECKING:
    from rag.embedding import Embedder

DEFAULT_COLLECTION = "default"
MAX_MEANING_WEIGHT = 100


class KnowledgeBase:
    """A library in a folder. Methods may be called from several threads."""

    def __init__(
        self, folder: str | Path, embedder: "Embedder | None" = None, *, reranker: Reranker | None = None
    ) -> None:
        self.folder = absolute(folder)
        self._store = Store(self.folder)
        self._given_embedder, self._reranker = embedder, reranker
        self._parts: tuple[Embedder, VectorIndex, Retriever] | None = None
        self._gate, self._chance = Gate(), Chance(self._store)
        self._opening, self._adding = threading.Lock(), threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Save the cache of the vectors and let others write."""
        if self._parts is not None:
            self._parts[1].save()
        self._store.close()

    # Files

    def add(
        self,
        paths: Iterable[str | Path],
        collection: str = DEFAULT_COLLECTION,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> AddReport:
        """Add files, and the files below folders; each is committed by itself, and one that fails is a line.

        Of a folder the files with a known suffix are taken, without hidden ones. After a kill `resume` goes on.
        Raises: BusyError if another program writes; SetupError if the library cannot be written.
        """
        given = [absolute(path) for path in paths]
        self._store.begin(given, collection)
        report = self._index_files(_jobs(given, collection), on_progress, should_stop)
        self._store.finish(given)
        return report

    def resume(
        self,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> AddReport:
        """Go on with what a kill or a power cut ended, at the file it was on."""
        pending = self._store.pending()
        jobs = [job for path, collection in pending for job in _jobs([path], collection)]
        report = self._index_files(jobs, on_progress, should_stop)
        if pending:
            self._store.finish([path for path, _ in pending])
        return report

    def rescan(
        self,
        *,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> AddReport:
        """Follow the watched folders: new, changed, renamed and deleted files. A folder that is away is left alone."""
        watched = [(folder, collection) for folder, collection in self._store.watched() if folder.is_dir()]
        jobs = [job for folder, collection in watched for job in _jobs([folder], collection)]
        report = self._index_files(jobs, on_progress, should_stop)
        if not report.was_stopped:
            gone = [
                document
                for folder, collection in watched
                for document in self.documents(collection)
                if document.path.is_relative_to(folder) and not document.path.exists()
            ]
            self.remove([document.id for document in gone])
            report.results += [FileResult(document.path, "removed") for document in gone]
        return report

    def watch(self, folder: str | Path, collection: str = DEFAULT_COLLECTION) -> None:
        """Let `rescan` follow a folder. Raises: DataError if it is none."""
        path = absolute(folder)
        if not path.is_dir():
            raise DataError("{path} is no folder.", "Choose a folder that is there.", path=path)
        self._store.watch(path, collection)

    def unwatch(self, folder: str | Path) -> None:
        """Stop following a folder; its documents stay."""
        self._store.unwatch(absolute(folder))

    def watched(self) -> list[tuple[Path, str]]:
        """The folders that `rescan` follows, and the collection of each."""
        return self._store.watched()

    def remove(self, document_ids: Iterable[int]) -> None:
        """Forget documents. The files themselves stay."""
        ids = list(document_ids)
        if ids:
            self._index.apply(self._store.remove(ids))

    def move(self, document_ids: Iterable[int], collection: str) -> None:
        """Put documents into another collection."""
        self._index.apply(self._store.move(document_ids, collection))

    def add_collection(self, name: str) -> None:
        """Make a collection, if it is not there."""
        self._store.add_collection(name)

    def remove_collection(self, name: str) -> None:
        """Forget a collection and the folders that it follows. Raises: DataError while it has documents."""
        if not self._store.drop_collection(name):
            count = self.collections()[name]
            raise DataError(
                "The collection {name} has {count} documents.", "Move or remove them first.", name=name, count=count
            )

    # What is there

    def document(self, document_id: int) -> DocumentRow | None:
        return self._store.document(document_id)

    def documents(self, collection: str | None = None) -> list[DocumentRow]:
        """All documents, or those of one collection, by path; also those that could not be read."""
        return self._store.documents(collection)

    def collections(self) -> dict[str, int]:
        """The collections, and how many documents each has."""
        return self._store.collections()

    def chunks(self, document_id: int) -> list[ChunkRow]:
        """The passages of a document, in order."""
        return self._store.chunks_of(document_id)

    def text(self, document_id: int) -> str:
        """The text of a document, which the offsets of hits count. Raises: DataError if it has none."""
        return self._store.text(self._content_id(document_id))

    def page_image(self, document_id: int, page: int, boxes: Sequence[Box] = ()) -> bytes:
        """A page of a pdf as PNG with boxes drawn. Raises: DataError if the file is gone or changed since."""
        document = self._store.document(document_id)
        if document is None or not document.path.exists():
            raise DataError("The file of this passage is gone.", "Add the file again, or remove the document.")
        if document.path.stat().st_mtime_ns != document.mtime_ns:
            raise DataError("{name} changed since it was read.", "Add it again.", name=document.path.name)
        return render_page(document.path, page, boxes)

    def _content_id(self, document_id: int) -> int:
        document = self._store.document(document_id)
        if document is None or document.content_id is None:
            raise DataError("Document {number} has no text here.", "Add its file again.", number=document_id)
        return document.content_id

    # Questions

    def search(  # noqa: PLR0913 - each says where to look
        self,
        query: str,
        k: int = 5,
        *,
        collections: Sequence[str] | None = None,
        history: Sequence[str] = (),
        kinds: Sequence[str] | None = None,
        path_prefix: str | Path | None = None,
        after: datetime | None = None,
    ) -> list[Hit]:
        """The best passages for a question, best first, by words and by meaning.

        `history` holds the user's earlier questions, oldest first, for one that makes no sense alone. The others say
        where to look: collections, kinds of file, the beginning of the path, modified after a time.
        """
        allowed = Filter.of(collections, kinds, path_prefix, after)
        return self._retriever.search(query, k, allowed=allowed, history=history)

    def answerable(
        self,
        query: str,
        hits: Sequence[Hit],
        *,
        collections: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        path_prefix: str | Path | None = None,
        after: datetime | None = None,
    ) -> bool:
        """Whether the hits of a question, found by a `search` with these options, are likely to answer it."""
        if not hits:
            return False
        embedder, _, retriever = self._open()
        allowed = Filter.of(collections, kinds, path_prefix, after)
        signs = Signs.of(
            query,
            hits,
            null_cosine=self._chance.null_cosine(retriever, embedder.id, allowed),
            rarity=retriever.vocabulary.rarity(),
            meaning_weight=self.meaning_weight,
        )
        return self._gate.passes(signs)

    def extract(self, query: str, hits: Sequence[Hit]) -> Answer:
        """The sentences of the hits that are nearest to the question, as they stand: an answer without a model."""
        return self._attributor().extract(query, hits)

    def attribute(self, answer: str, hits: Sequence[Hit]) -> list[Sentence]:
        """The sentences of an answer, each with the places that support it; one without citations has none."""
        return self._attributor().attribute(answer, hits)

    def inventory(self, query: str, *, collections: Sequence[str] | None = None) -> str | None:
        """The answer to a question about the files themselves ("how many", "which"); None for any other question."""
        names = [None] if collections is None else collections
        return inventory(query, [document for name in names for document in self.documents(name)])

    def self_test(self, collections: Sequence[str] | None = None) -> SelfTest | None:
        """How well each way of searching finds what is known to be there; None if there is too little text."""
        return self_test(self._store, self._retriever, Filter.of(collections))

    @property
    def meaning_weight(self) -> float:
        """How many times as much as usual the vectors count in searches; `self_test` says what would be better."""
        return self._store.meaning_weight()

    @meaning_weight.setter
    def meaning_weight(self, weight: float) -> None:
        """It is kept with the library. Raises: ConfigError for one that makes no sense."""
        if not 0 <= weight <= MAX_MEANING_WEIGHT:
            raise ConfigError(
                "A weight of meaning of {weight} makes no sense.",
                "Give a number from 0 to {most}.",
                weight=weight,
                most=MAX_MEANING_WEIGHT,
            )
        self._store.set_meaning_weight(weight)

    def _attributor(self) -> Attributor:
        embedder, _, retriever = self._open()
        retriever.vocabulary.refresh()
        return Attributor(embedder, retriever.vocabulary.idf_of)

    # Parts

    @property
    def embedder(self) -> "Embedder":
        """What makes the vectors of questions now."""
        return self._open()[0]

    @property
    def has_vectors(self) -> bool:
        """Whether the vectors here are this embedder's, and not of one before it."""
        return self._store.setting("embedder") in ("", self.embedder.id)

    @property
    def _index(self) -> VectorIndex:
        return self._open()[1]

    @property
    def _retriever(self) -> Retriever:
        return self._open()[2]

    def _open(self) -> "tuple[Embedder, VectorIndex, Retriever]":
        with self._opening:
            if self._parts is None:
                embedder = self._given_embedder or _default_embedder()
                self._parts = self._parts_with(embedder)
            return self._parts

    def _parts_with(self, embedder: "Embedder") -> "tuple[Embedder, VectorIndex, Retriever]":
        index = VectorIndex(self._store, self.folder, embedder.id)
        return embedder, index, Retriever(self._store, index, embedder, reranker=self._reranker)

    def change_embedder(
        self,
        embedder: "Embedder",
        *,
        on_progress: Callable[[int], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> bool:
        """Make vectors of another embedder for every passage, then answer with them; False when stopped.

        Meanwhile searches use the old ones, files can be added, and a kill loses nothing: the next call goes on.
        """
        parts = self._parts_with(embedder)
        indexer = Indexer(self._store, parts[1], embedder)
        while indexer.complete(should_stop or (lambda: False), on_progress or (lambda done: None)):
            if self._store.activate(embedder.id):
                parts[1].sync()
                with self._opening:
                    self._parts = parts
                return True
        return False

    def _index_files(
        self,
        jobs: Sequence[Job],
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> AddReport:
        with self._adding:
            embedder, index, _ = self._open()
            if not self._store.setting("embedder"):
                self._store.activate(embedder.id)
            index.sync()
            report = Indexer(self._store, index, embedder).add(jobs, on_progress, should_stop)
            if self.embedder.id != embedder.id:  # it was changed meanwhile
                self.change_embedder(self.embedder, should_stop=should_stop)
            if self._store.database.is_writer:
                index.tidy()
            index.save()
            return report


def _jobs(paths: Sequence[Path], collection: str) -> list[Job]:
    """The files that were named, and those of a known kind below the folders that were."""
    files: dict[Path, None] = {}
    for path in paths:
        files.update(dict.fromkeys(filter(is_supported, walk(path)) if path.is_dir() else [path]))
    return [Job(path, collection) for path in files]


def _default_embedder() -> "Embedder":
    from rag.embedding import load_embedder

    return load_embedder()
