"""Files into the library: what changed, what it says, its passages and vectors, one commit for each file.

Reading and parsing run ahead in threads (parsing itself in other processes), embedding and committing here. An
unchanged file costs a look at its size and time; one that cannot be read costs a line in the report.
"""

import errno
import logging
import stat
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from core.errors import AssistantError
from core.files import sha256_file
from rag.chunking import chunk
from rag.documents import Chunk, ParsedDocument
from rag.parsing import Parser
from rag.remarks import RefusedError, Remark
from rag.rows import DocumentRow, Embedded, FileState, Vectors
from rag.store import Store
from rag.store_reader import passage
from rag.vector_index import VectorIndex

if TYPE_CHECKING:
    from rag.embedding import Embedder

logger = logging.getLogger(__name__)

READERS = 2
READ_AHEAD = 4  # files that are parsed and wait
EMBED_AT_ONCE = 256
FIRST_AT_ONCE, STEP_S = 8, 1.0  # of another embedder, whose speed is not known
MAX_FILE_BYTES = 512 * 2**20
PROGRESS_INTERVAL_S = 0.1

Outcome = str  # "added", "updated", "unchanged", "renamed", "failed"
USED_UP = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of a file. `remark` says why it failed, or where it was before."""

    path: Path
    outcome: Outcome
    remark: Remark | None = None

    @property
    def sentence(self) -> str:
        """The remark in English, or nothing."""
        return str(self.remark or "")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the adding of files is. `eta_s` is None until there is a rate."""

    path: Path
    done: int
    total: int
    failed: int
    files_per_s: float
    eta_s: float | None


@dataclass(slots=True)
class AddReport:
    """What became of every file."""

    results: list[FileResult] = field(default_factory=list)
    was_stopped: bool = False
    elapsed_s: float = 0.0

    @property
    def counts(self) -> dict[Outcome, int]:
        return dict(Counter(result.outcome for result in self.results))

    @property
    def failed(self) -> list[FileResult]:
        return [result for result in self.results if result.outcome == "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """A file to look at, for a collection."""

    path: Path
    collection: str


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was looked at: a result already, or something to commit."""

    job: Job
    file: FileState | None = None
    known: DocumentRow | None = None
    parsed: ParsedDocument | None = None
    chunks: Sequence[Chunk] = ()
    result: FileResult | None = None
    error: Remark | None = None


class Indexer:
    """Adds files to a store, and their vectors to the index."""

    def __init__(self, store: Store, index: VectorIndex, embedder: "Embedder") -> None:
        self._store, self._index, self._embedder = store, index, embedder

    def add(
        self,
        jobs: Sequence[Job],
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> AddReport:
        """Add files one after the other. Raises: SetupError if the library cannot be written; BusyError."""
        report, started, told = AddReport(), time.monotonic(), 0.0
        failed = 0
        for read in self._read_ahead(jobs, should_stop or (lambda: False)):
            result = read.result or self._commit(read)
            report.results.append(result)
            failed += result.outcome == "failed"
            now, done = time.monotonic(), len(report.results)
            if on_progress and (now - told >= PROGRESS_INTERVAL_S or done == len(jobs)):
                rate = done / max(now - started, 1e-9)
                eta_s = (len(jobs) - done) / rate
                on_progress(Progress(read.job.path, done, len(jobs), failed, rate, eta_s))
                told = now
        report.was_stopped = len(report.results) < len(jobs)
        report.elapsed_s = time.monotonic() - started
        return report

    def complete(self, should_stop: Callable[[], bool], on_progress: Callable[[int], None]) -> bool:
        """Give every passage that lacks one a vector of this embedder; False when stopped."""
        done, at_once = 0, FIRST_AT_ONCE
        while lacking := self._store.lacking(self._embedder.id, at_once):
            if should_stop():
                return False
            started = time.monotonic()
            vectors = self._embed([text for _, text in lacking])
            self._store.add_vectors(self._embedder.id, [id_ for id_, _ in lacking], vectors)
            done += len(lacking)
            on_progress(done)
            # Embedders differ a thousandfold; a cancel is heard and a step is seen within about a second of any.
            fitting = at_once * STEP_S / max(time.monotonic() - started, 1e-3)
            at_once = max(FIRST_AT_ONCE, min(EMBED_AT_ONCE, int(fitting)))
        return True

    def _read_ahead(self, jobs: Sequence[Job], should_stop: Callable[[], bool]) -> Iterator[_Read]:
        """Files in their order, while the next ones are being read."""
        waiting: deque[Future[_Read]] = deque()
        parsers: SimpleQueue[Parser] = SimpleQueue()

        def read(job: Job) -> _Read:
            parser = parsers.get()
            try:
                return self._read(job, parser)
            finally:
                parsers.put(parser)

        with ExitStack() as stack:
            for _ in range(READERS):
                parsers.put(stack.enter_context(Parser()))
            pool = ThreadPoolExecutor(READERS, thread_name_prefix="reading")
            stack.callback(pool.shutdown, cancel_futures=True)
            for job in jobs:
                waiting.append(pool.submit(read, job))
                if len(waiting) > READ_AHEAD:
                    yield waiting.popleft().result()
                if should_stop():
                    return
            while waiting and not should_stop():
                yield waiting.popleft().result()

    def _read(self, job: Job, parser: Parser) -> _Read:
        """Look at a file, and parse it if the library does not know its bytes."""
        try:
            file = _state(job.path)
        except OSError as exc:
            return _Read(job, result=FileResult(job.path, "failed", _unreadable(job.path, exc)))
        known = self._store.document_at(job.path, job.collection)
        if known and (known.size_bytes, known.mtime_ns) == (file.size_bytes, file.mtime_ns):
            return _Read(job, result=FileResult(job.path, "failed" if known.error else "unchanged", known.error))
        read = _Read(job, file, known)
        try:
            return self._parse(read, file, parser)
        except (AssistantError, OSError) as exc:
            remark = _unreadable(job.path, exc) if isinstance(exc, OSError) else _remark(exc, job.path)
            if _is_used_up(exc):  # the file may be sound, so nothing is remembered of it
                return replace(read, result=FileResult(job.path, "failed", remark))
            return replace(read, error=remark)
        except Exception:
            logger.exception("reading %s", job.path)
            return replace(read, error=Remark("our_fault", file=job.path.name))

    def _parse(self, read: _Read, file: FileState, parser: Parser) -> _Read:
        path = read.job.path
        if file.size_bytes > MAX_FILE_BYTES:
            most_mb = MAX_FILE_BYTES / 1e6
            raise RefusedError("file_too_large", file=path.name, size_mb=file.size_bytes / 1e6, most_mb=most_mb)
        file = replace(file, sha256=sha256_file(path))
        read = replace(read, file=file)
        if self._content_id(file) is not None:
            return read
        parsed = parser.parse(path)
        if _state(path) != replace(file, sha256=""):
            raise RefusedError("changed", file=path.name)
        return replace(read, parsed=parsed, chunks=chunk(parsed, self._embedder.count_tokens))

    def _commit(self, read: _Read) -> FileResult:
        """Write what a file says, in one transaction."""
        job, file, known = read.job, read.file, read.known
        assert file is not None
        if read.error:
            self._index.apply(self._store.fail(file, job.collection, read.error))
            return FileResult(job.path, "failed", read.error)
        if known and known.sha256 == file.sha256 and not known.error:
            self._index.apply(self._store.rename(known.id, file))
            return FileResult(job.path, "unchanged")
        content_id = self._content_id(file)
        gone = next((twin for twin in self._store.documents_with_hash(file.sha256) if _is_gone(twin, job)), None)
        if gone and known is None:
            self._index.apply(self._store.rename(gone.id, file))
            return FileResult(job.path, "renamed", Remark("was_at", {"path": str(gone.path)}))
        if content_id is not None:
            self._index.apply(self._store.link(file, job.collection, content_id))
        elif read.parsed is not None:
            self._put(read, file, read.parsed)
        else:  # the file with the same bytes was removed meanwhile
            with Parser() as parser:
                again = self._read(job, parser)
            return again.result or self._commit(again)
        return FileResult(job.path, "updated" if known else "added")

    def _put(self, read: _Read, file: FileState, parsed: ParsedDocument) -> None:
        vectors = self._embed([passage(c.headings, parsed.text[c.start : c.end]) for c in read.chunks])
        embedded = Embedded(self._embedder.id, vectors)
        change = self._store.put(file, read.job.collection, parsed, read.chunks, embedded)
        self._index.apply(change, vectors)

    def _content_id(self, file: FileState) -> int | None:
        return self._store.content_id(file.sha256, file.path.suffix.lower())

    def _embed(self, passages: Sequence[str]) -> Vectors:
        parts = [
            self._embedder.encode_passages(passages[first : first + EMBED_AT_ONCE]).astype(np.float16)
            for first in range(0, len(passages), EMBED_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self._embedder.dim), np.float16)


def _state(path: Path) -> FileState:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is no regular file")
    return FileState(path, status.st_size, status.st_mtime_ns)


def _is_gone(twin: DocumentRow, job: Job) -> bool:
    """Whether a document with the same bytes stood where no file is now: the file was renamed."""
    is_same_kind = twin.path.suffix.lower() == job.path.suffix.lower() and twin.collection == job.collection
    return is_same_kind and twin.content_id is not None and not twin.path.exists()


def _remark(exc: AssistantError, path: Path) -> Remark:
    return exc.remark if isinstance(exc, RefusedError) else Remark("said", {"text": str(exc)}, path.name)


def _is_used_up(exc: Exception) -> bool:
    """Whether it was the machine that had no more descriptors, memory or processes."""
    return any(isinstance(one, OSError) and one.errno in USED_UP for one in (exc, exc.__cause__))


def _unreadable(path: Path, exc: OSError) -> Remark:
    return Remark("unreadable", {"reason": exc.strerror or str(exc)}, path.name)
