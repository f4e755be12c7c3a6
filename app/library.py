"""The user's library behind the page: opened when it is first asked, filled by one thread of its own.

Files that were dropped onto the page are copied below its folder, for a browser tells no paths; folders of this
machine are read where they are. Importing this costs nothing: `rag` comes with the first question to the library.
"""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.library_drops import Drops
from app.library_embedder import EmbedderSetting, LazyEmbedder, ServedEmbedder, embedder_name, to_choice
from app.library_work import Activity, Task, VectorProgress, Worker
from core.errors import DataError, ModelError

if TYPE_CHECKING:
    from rag import KnowledgeBase
    from rag.embedding import Embedder

DATABASE, COPIES = "library.db", "files"
MAX_NAME_CHARS = 64


class Library:
    """Opens the knowledge base once and does its long work in the background. Methods may be called from any thread."""

    def __init__(self, folder: Path, *, embedder: "Callable[[], Embedder] | None" = None, follows: bool = True) -> None:
        """Without `follows` it is only read: nothing is resumed, and watched folders are left to others."""
        self.folder = folder
        self.embedders, self._follows = EmbedderSetting(folder, embedder), follows
        self._lazy = LazyEmbedder(lambda: self.embedders.load(self.embedders.current))
        self._kb: KnowledgeBase | None = None
        self._opening, self._worker = threading.Lock(), Worker(self._rescan)
        self._drops = Drops(folder / COPIES)

    # What is there

    @property
    def exists(self) -> bool:
        """Whether anything was ever put into it: if not, nobody needs to open it."""
        return self._kb is not None or (self.folder / DATABASE).exists()

    @property
    def activity(self) -> Activity:
        return self._worker.activity

    def open(self) -> "KnowledgeBase":
        """The knowledge base. Raises: AssistantError if it cannot be opened."""
        with self._opening:
            if self._kb is None:
                from rag import KnowledgeBase

                self._kb = KnowledgeBase(self.folder, self._lazy)
                if self._follows:
                    self._begin(self._kb)
            return self._kb

    @property
    def embedder(self) -> "Embedder":
        """What makes vectors now. Raises: ModelError if it cannot be loaded."""
        return self._lazy if self._kb is None else self._kb.embedder

    def served_embedder(self) -> ServedEmbedder:
        """The embedder for programs, whichever it is when they ask."""
        return ServedEmbedder(lambda: self.embedder, lambda: self.embedders.current)

    def collections(self) -> dict[str, int]:
        """The collections, and how many documents each has; none while there is no library."""
        return self.open().collections() if self.exists else {}

    def close(self) -> None:
        """Save what speeds up the next start. Work that is under way ends with the program and goes on at the next."""
        with self._opening:
            if self._kb is not None and not self.activity.is_running:
                self._kb.close()

    # Long work

    def add(self, paths: Sequence[Path], collection: str) -> None:
        """Begin to add files and folders. Raises: DataError for a path that is not there or a bad name."""
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise DataError("{path} is not there.", "Give the whole path of a file or a folder.", path=missing[0])
        kb, name = self.open(), collection_name(collection)
        self._worker.start(Task(lambda **options: kb.add(paths, name, **options)))

    def watch(self, folder: Path, collection: str) -> None:
        """Add a folder and follow it from now on. Raises: DataError if it is none."""
        kb = self.open()
        kb.watch(folder, collection_name(collection))
        self._worker.start(Task(kb.rescan))

    def choose_embedder(self, text: str) -> None:
        """Begin to make vectors with another embedder, by its folder or hub name; nothing is the program's own.

        Searches use the one before until all are there.
        """
        kb, choice = self.open(), to_choice(text)
        self._worker.start(Task(partial(self._change_embedder, kb, choice)))

    def cancel(self) -> None:
        """End the work at the file it is on; what was added stays."""
        self._worker.cancel()

    def wait(self, timeout_s: float) -> bool:
        """Whether all work has ended within the time."""
        return self._worker.wait(timeout_s)

    def remove(self, document_ids: Sequence[int]) -> None:
        """Forget documents, and delete the copies that were made of dropped files."""
        kb, ids = self.open(), set(document_ids)
        paths = [document.path for document in kb.documents() if document.id in ids]
        kb.remove(document_ids)
        kept = {document.path for document in kb.documents()}
        copies = self.folder / COPIES
        for path in paths:
            if path.is_relative_to(copies) and path not in kept:
                path.unlink(missing_ok=True)

    def move(self, document_ids: Sequence[int], collection: str) -> None:
        """Put documents into another collection. Raises: DataError for a name that cannot be."""
        self.open().move(document_ids, collection_name(collection))

    # Dropped files

    def receive(self, batch: str, name: str, content: IO[bytes], collection: str) -> bool:
        """Keep a copy of one file of a drop until `finish`; False if the collection has these bytes already.

        `name` is its path within what was dropped. Raises: DataError for a name or size that cannot be.
        """
        return self._drops.receive(batch, name, content, lambda: self._hashes(collection))

    def finish(self, batch: str, collection: str) -> None:
        """Begin to add what was received. Of a dropped folder, files of an unknown kind are left out."""
        if wanted := self._drops.finish(batch):
            self.add(wanted, collection)

    def _hashes(self, collection: str) -> set[str]:
        """Of the documents that the collection has."""
        documents = self.open().documents(collection_name(collection))
        return {document.sha256 for document in documents if not document.error}

    # What the worker does

    def _begin(self, kb: "KnowledgeBase") -> None:
        """Go on where the last run ended, then follow the watched folders."""
        self._worker.start(Task(partial(self._complete_vectors, kb), is_quiet=True))
        self._worker.start(Task(kb.resume, is_quiet=True))
        if kb.watched():
            self._worker.start(Task(kb.rescan, is_quiet=True))

    def _rescan(self) -> Task | None:
        """What is done now and then: following the watched folders."""
        kb = self._kb
        return Task(kb.rescan, is_quiet=True) if kb is not None and kb.watched() else None

    def _complete_vectors(self, kb: "KnowledgeBase", **told: Any) -> None:
        """Go on with a change of the embedder, or make the vectors of one whose folder has another model now."""
        wanted = self.embedders.wanted
        if wanted is not None or (kb.collections() and not kb.has_vectors):
            self._change_embedder(kb, self.embedders.current if wanted is None else wanted, **told)

    def _change_embedder(
        self,
        kb: "KnowledgeBase",
        choice: str,
        *,
        on_progress: "Callable[[VectorProgress], None]",
        should_stop: Callable[[], bool],
    ) -> None:
        name, started = embedder_name(choice), time.monotonic()
        on_progress(VectorProgress(name))
        embedder = self._loaded(choice)
        self.embedders.want(choice)
        total = sum({row.content_id: row.num_chunks for row in kb.documents()}.values())

        def note(done: int) -> None:
            on_progress(VectorProgress(name, done, max(total, done), time.monotonic() - started))

        started = time.monotonic()
        note(0)
        if kb.change_embedder(embedder, on_progress=note, should_stop=should_stop):
            self.embedders.keep(choice)
            self._worker.end(Activity(embedder=name))
        else:
            self.embedders.want(None)
            self._worker.end(Activity(was_stopped=True, elapsed_s=time.monotonic() - started))

    def _loaded(self, choice: str) -> "Embedder":
        """The embedder of a choice; one that cannot be loaded is not tried again at the next start."""
        try:
            return self.embedders.load(choice)
        except ModelError:
            if self.embedders.wanted is not None:
                self.embedders.want(None)
            raise


def collection_name(name: str) -> str:
    """The name as it is kept. Raises: DataError for an empty or a very long one."""
    kept = " ".join(name.split())
    if not kept or len(kept) > MAX_NAME_CHARS or not kept.isprintable():
        raise DataError(
            "{name!r} is no name for a collection.", "Give 1 to {most} characters.", name=name[:80], most=MAX_NAME_CHARS
        )
    return kept
