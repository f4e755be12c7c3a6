"""The user's library behind the page: opened when it is first asked, filled by one thread of its own.

Files that were dropped onto the page are copied below its folder, for a browser tells no paths; folders of this
machine are read where they are. Importing this costs nothing: `rag` comes with the first question to the library.
"""

import logging
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.dropped_files import copy_dropped, place_of
from app.library_embedder import EmbedderSetting, LazyEmbedder, ServedEmbedder, embedder_name, to_choice
from core.errors import AssistantError, DataError, ModelError
from core.parallel.priority import lower_thread

if TYPE_CHECKING:
    from rag import KnowledgeBase
    from rag.embedding import Embedder
    from rag.indexing import AddReport, Progress
    from rag.remarks import Remark

logger = logging.getLogger(__name__)

DATABASE, COPIES = "library.db", "files"
RESCAN_EVERY_S = 30.0
MAX_NAME_CHARS = 64
KEPT_FAILURES = 20

Work = Callable[..., "AddReport | None"]


@dataclass(frozen=True, slots=True)
class Task:
    """Work for the library's thread, which tells of itself or gives a report.

    Of quiet work nobody hears unless it changed something.
    """

    work: Work
    is_quiet: bool = False


@dataclass(frozen=True, slots=True)
class VectorProgress:
    """How far the vectors of another embedder are, in passages. There is no total while it is being loaded."""

    embedder: str
    done: int = 0
    total: int | None = None
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Activity:
    """What the library's thread does, or how its last work ended. `failed` says why files could not be read.

    `embedder` is the name of one that answers since then.
    """

    is_running: bool = False
    progress: "Progress | VectorProgress | None" = None
    embedder: str = ""
    num_waiting: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    failed: "tuple[Remark, ...]" = ()
    was_stopped: bool = False
    elapsed_s: float = 0.0
    error: AssistantError | None = None


@dataclass(slots=True)
class _Drop:
    """Files that arrive together, and the hashes of those that need not."""

    known: set[str]
    paths: list[Path] = field(default_factory=list)


class Library:
    """Opens the knowledge base once and does its long work in the background. Methods may be called from any thread."""

    def __init__(self, folder: Path, *, embedder: "Callable[[], Embedder] | None" = None, follows: bool = True) -> None:
        """Without `follows` it is only read: nothing is resumed, and watched folders are left to others."""
        self.folder = folder
        self.embedders, self._follows = EmbedderSetting(folder, embedder), follows
        self._lazy = LazyEmbedder(lambda: self.embedders.load(self.embedders.current))
        self._kb: KnowledgeBase | None = None
        self._opening, self._changing = threading.Lock(), threading.Condition()
        self._tasks: deque[Task] = deque()
        self._activity = Activity()
        self._stops = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_busy = False
        self._drops: dict[str, _Drop] = {}

    # What is there

    @property
    def exists(self) -> bool:
        """Whether anything was ever put into it: if not, nobody needs to open it."""
        return self._kb is not None or (self.folder / DATABASE).exists()

    @property
    def activity(self) -> Activity:
        return self._activity

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
            if self._kb is not None and not self._activity.is_running:
                self._kb.close()

    # Long work

    def add(self, paths: Sequence[Path], collection: str) -> None:
        """Begin to add files and folders. Raises: DataError for a path that is not there or a bad name."""
        missing = [path for path in paths if not path.exists()]
        if missing:
            raise DataError("{path} is not there.", "Give the whole path of a file or a folder.", path=missing[0])
        kb, name = self.open(), collection_name(collection)
        self._start(Task(lambda **options: kb.add(paths, name, **options)))

    def watch(self, folder: Path, collection: str) -> None:
        """Add a folder and follow it from now on. Raises: DataError if it is none."""
        kb = self.open()
        kb.watch(folder, collection_name(collection))
        self._start(Task(kb.rescan))

    def choose_embedder(self, text: str) -> None:
        """Begin to make vectors with another embedder, by its folder or hub name; nothing is the program's own.

        Searches use the one before until all are there.
        """
        kb, choice = self.open(), to_choice(text)
        self._start(Task(partial(self._change_embedder, kb, choice)))

    def cancel(self) -> None:
        """End the work at the file it is on; what was added stays."""
        with self._changing:
            self._tasks.clear()
            self._stops.set()
            if not self._is_busy:
                self._rest()

    def wait(self, timeout_s: float) -> bool:
        """Whether all work has ended within the time."""
        with self._changing:
            return self._changing.wait_for(lambda: not self._activity.is_running, timeout_s)

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
        path = place_of(self.folder / COPIES, batch, name)
        drop = self._drops.get(batch) or self._drops.setdefault(batch, self._new_drop(collection))
        digest = copy_dropped(content, path)
        if digest in drop.known:
            path.unlink()
            return False
        drop.known.add(digest)
        drop.paths.append(path)
        return True

    def finish(self, batch: str, collection: str) -> None:
        """Begin to add what was received. Of a dropped folder, files of an unknown kind are left out."""
        from rag.parsing import is_supported

        root = self.folder / COPIES / batch
        drop = self._drops.pop(batch, None)
        if drop is None:
            return
        wanted = [path for path in drop.paths if path.parent == root or is_supported(path)]
        for path in set(drop.paths) - set(wanted):
            path.unlink(missing_ok=True)
        if wanted:
            self.add(wanted, collection)
        else:
            shutil.rmtree(root, ignore_errors=True)

    def _new_drop(self, collection: str) -> "_Drop":
        documents = self.open().documents(collection_name(collection))
        return _Drop({document.sha256 for document in documents if not document.error})

    # The thread

    def _begin(self, kb: "KnowledgeBase") -> None:
        """Go on where the last run ended, then follow the watched folders."""
        self._start(Task(partial(self._complete_vectors, kb), is_quiet=True))
        self._start(Task(kb.resume, is_quiet=True))
        if kb.watched():
            self._start(Task(kb.rescan, is_quiet=True))

    def _start(self, task: Task) -> None:
        with self._changing:
            self._tasks.append(task)
            self._stops.clear()
            self._activity = replace(self._activity, is_running=True, num_waiting=len(self._tasks))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="library", daemon=True)
                self._thread.start()
            self._changing.notify_all()

    def _run(self) -> None:
        lower_thread()  # the chat goes on meanwhile
        while True:
            task = self._next()
            if task is not None:
                self._do(task)
            elif self._kb is not None and self._kb.watched():
                self._do(Task(self._kb.rescan, is_quiet=True))

    def _next(self) -> Task | None:
        """What to do next; None after a while in which nothing was asked."""
        with self._changing:
            self._is_busy = False
            if not self._tasks:
                self._rest()
                self._changing.wait_for(lambda: bool(self._tasks), RESCAN_EVERY_S)
            self._is_busy = True
            return self._tasks.popleft() if self._tasks else None

    def _rest(self) -> None:
        """Say that nothing is under way."""
        self._activity = replace(self._activity, is_running=False, progress=None, num_waiting=0)
        self._changing.notify_all()

    def _do(self, task: Task) -> None:
        try:
            report = task.work(on_progress=self._note, should_stop=self._stops.is_set)
        except AssistantError as exc:
            self._end(Activity(is_running=True, error=exc))
        except Exception:
            logger.exception("indexing")
            ended = AssistantError("An error in this program ended the work.", "See the log file, and report this.")
            self._end(Activity(is_running=True, error=ended))
        else:
            if report and (not task.is_quiet or set(report.counts) - {"unchanged", "failed"}):
                self._end(_activity_of(report))

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
            self._end(Activity(is_running=True, embedder=name))
        else:
            self.embedders.want(None)
            self._end(Activity(is_running=True, was_stopped=True, elapsed_s=time.monotonic() - started))

    def _loaded(self, choice: str) -> "Embedder":
        """The embedder of a choice; one that cannot be loaded is not tried again at the next start."""
        try:
            return self.embedders.load(choice)
        except ModelError:
            if self.embedders.wanted is not None:
                self.embedders.want(None)
            raise

    def _note(self, progress: "Progress | VectorProgress") -> None:
        with self._changing:
            waiting = len(self._tasks)
            self._activity = replace(self._activity, is_running=True, progress=progress, num_waiting=waiting)

    def _end(self, activity: Activity) -> None:
        with self._changing:
            self._activity = activity


def _activity_of(report: "AddReport") -> Activity:
    return Activity(
        is_running=True,
        counts=report.counts,
        failed=tuple(result.remark for result in report.failed[:KEPT_FAILURES] if result.remark),
        was_stopped=report.was_stopped,
        elapsed_s=report.elapsed_s,
    )


def collection_name(name: str) -> str:
    """The name as it is kept. Raises: DataError for an empty or a very long one."""
    kept = " ".join(name.split())
    if not kept or len(kept) > MAX_NAME_CHARS or not kept.isprintable():
        raise DataError(
            "{name!r} is no name for a collection.", "Give 1 to {most} characters.", name=name[:80], most=MAX_NAME_CHARS
        )
    return kept
