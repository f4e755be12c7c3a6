"""Downloads from the hub in the background: asked for by a button, one after the other, kept over a restart.

Nothing here starts by itself. What a restart interrupts waits until the user goes on with it; the bytes that came are
kept by `core.download`, which also checks each of them and the room on the disk. What is fetched and how far it is
lies in a file of the data folder; every host that is connected to is told to the receipt.
"""

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.receipt import Receipt
from core.errors import AssistantError, ConfigError, DownloadError
from core.files import read_json_object, write_json
from core.hub.places import EMBEDDER, KEPT, MODEL, HubName, check_revision, embedders_folder, models_folder, staging

if TYPE_CHECKING:
    from core.hub import DownloadProgress

logger = logging.getLogger(__name__)

FILE = "downloads.json"
KINDS = (MODEL, EMBEDDER)
MAX_KEPT = 50
HUB = "https://huggingface.co"


class DownloadState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"  # by the user or by a restart; its bytes are kept
    FAILED = "failed"
    DONE = "done"


ACTIVE = (DownloadState.QUEUED, DownloadState.RUNNING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """One model on its way. Times are of `time.time()`; the rate is of what came since it last began."""

    name: str
    kind: str = MODEL
    revision: str | None = None
    state: DownloadState = DownloadState.QUEUED
    file: str = ""
    commit: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    bytes_per_s: float = 0.0
    eta_s: float | None = None
    sentences: tuple[str, ...] = ()  # of the error that ended it, and its values
    values: dict[str, Any] = field(default_factory=dict)
    asked_at: float = 0.0
    ended_at: float = 0.0

    @property
    def folder(self) -> Path:
        """Where it lies when it is whole."""
        places = {MODEL: models_folder, EMBEDDER: embedders_folder}
        return places[self.kind]() / HubName.parse(self.name).folder_name

    @property
    def path(self) -> Path:
        """What can be opened: the folder, or the GGUF file in it."""
        file = HubName.parse(self.name).file
        return self.folder / file if file else self.folder

    @property
    def failure(self) -> AssistantError | None:
        """What ended it, if it failed."""
        return DownloadError(self.sentences[0], self.sentences[1], **self.values) if self.sentences else None

    @property
    def error(self) -> str:
        """The same in English; empty if it did not fail."""
        return str(self.failure or "")

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE


def hub_host() -> str:
    """Where downloads come from."""
    return urlsplit(os.environ.get("HF_ENDPOINT") or HUB).netloc


class Downloads:
    """The queue. Methods may be called from any thread; all but `forget` and `wait` return at once."""

    def __init__(self, folder: Path, receipt: Receipt) -> None:
        """`folder` keeps the list; nothing is fetched until `start` or `resume`."""
        self._path, self._receipt = folder / FILE, receipt
        self._condition = threading.Condition()
        self._downloads: dict[str, Download] = {}
        self._cancelled: dict[str, threading.Event] = {}
        self._worker: threading.Thread | None = None
        self._read()

    def all(self) -> list[Download]:
        """Every download, the one asked for first at the front."""
        with self._condition:
            return list(self._downloads.values())

    def find(self, name: str) -> Download | None:
        """The download of a name."""
        with self._condition:
            return self._downloads.get(name)

    def start(self, name: str, *, kind: str = MODEL, revision: str | None = None) -> Download:
        """Put a download at the end of the queue, unless it is in it. Raises ConfigError for a name that is none."""
        wanted = HubName.parse(name)
        if revision is not None:
            check_revision(revision)
        if kind not in KINDS or (kind == EMBEDDER and wanted.file):
            raise ConfigError(
                "{name} cannot be downloaded as {what!r}.",
                "Choose one of {kinds}.",
                name=name,
                what=kind[:40],
                kinds=", ".join(KINDS),
            )
        with self._condition:
            known = self._downloads.get(str(wanted))
            if known is not None and known.is_active:
                return known
            download = Download(name=str(wanted), kind=kind, revision=revision, asked_at=time.time())
            self._downloads.pop(download.name, None)
            return self._queue(download)

    def resume(self, name: str) -> Download:
        """Go on with a download that was cancelled, interrupted or failed. Raises DownloadError if there is none."""
        with self._condition:
            download = self._known(name)
            if download.is_active or download.state == DownloadState.DONE:
                return download
            return self._queue(
                replace(download, state=DownloadState.QUEUED, sentences=(), values={}, asked_at=time.time())
            )

    def cancel(self, name: str) -> Download:
        """Stop a download; what came is kept. Raises DownloadError if there is none."""
        with self._condition:
            download = self._known(name)
            if download.is_active:
                self._cancelled[download.name].set()
                if download.state == DownloadState.QUEUED:
                    return self._put(replace(download, state=DownloadState.PAUSED, ended_at=time.time()))
            return download

    def forget(self, name: str) -> None:
        """Take a download off the list, and delete what has come of an unfinished one. Raises DownloadError."""
        download = self.cancel(name)
        self.wait(name)
        with self._condition:
            self._downloads.pop(download.name, None)
            self._write()
        shutil.rmtree(staging(download.folder), ignore_errors=True)

    def wait(self, name: str, timeout_s: float | None = None) -> bool:
        """Whether the download has ended, in whatever way, within the time."""
        with self._condition:
            return self._condition.wait_for(
                lambda: name not in self._downloads or not self._is_at_work(name), timeout_s
            )

    def close(self) -> None:
        """Cancel what is under way, and wait until it has ended."""
        with self._condition:
            worker = self._worker
            for event in self._cancelled.values():
                event.set()
        if worker is not None:
            worker.join()

    def _is_at_work(self, name: str) -> bool:
        return self._downloads[name].is_active

    def _queue(self, download: Download) -> Download:
        self._cancelled[download.name] = threading.Event()
        put = self._put(download)
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="downloads", daemon=True)
            self._worker.start()
        return put

    def _known(self, name: str) -> Download:
        if name not in self._downloads:
            raise DownloadError("There is no download of {name}.", "Look at the list again.", name=name[:200])
        return self._downloads[name]

    def _work(self) -> None:
        """Do what is queued, one after the other: two at once would share one line."""
        while (download := self._next()) is not None:
            self._fetch(download)

    def _next(self) -> Download | None:
        with self._condition:
            waiting = [one for one in self._downloads.values() if one.state == DownloadState.QUEUED]
            if not waiting:
                self._worker = None
                return None
            first = min(waiting, key=lambda one: one.asked_at)
            return self._put(replace(first, state=DownloadState.RUNNING))

    def _fetch(self, download: Download) -> None:
        from core.hub import Watch
        from core.hub import download as fetch

        visit = self._receipt.begin(download.name)
        cancelled = self._cancelled[download.name]
        try:
            fetch(
                download.name,
                revision=download.revision,
                folder=download.folder,
                kind=download.kind,
                watch=Watch(
                    progress=lambda state: self._progress(download.name, state, visit.bytes_at),
                    connecting=visit.connecting,
                    cancelled=cancelled,
                ),
            )
            state, failure = DownloadState.DONE, None
        except AssistantError as exc:
            state, failure = (DownloadState.PAUSED, None) if cancelled.is_set() else (DownloadState.FAILED, exc)
        except Exception as exc:
            logger.exception("downloading %s", download.name)
            reason = type(exc).__name__
            unexpected = DownloadError("The download ended unexpectedly ({reason}).", KEPT, reason=reason)
            state, failure = DownloadState.FAILED, unexpected
        visit.end()
        with self._condition:
            ended = replace(self._downloads[download.name], state=state, ended_at=time.time(), eta_s=None)
            self._put(replace(ended, sentences=failure.sentences, values=failure.values) if failure else ended)

    def _progress(self, name: str, state: "DownloadProgress", count: Callable[[str, int], None]) -> None:
        count(state.file, state.done_bytes)
        with self._condition:
            known = self._downloads[name]
            self._downloads[name] = replace(
                known,
                file=state.file,
                commit=state.commit,
                done_bytes=state.done_bytes,
                total_bytes=state.total_bytes,
                bytes_per_s=state.bytes_per_s,
                eta_s=state.eta_s,
            )

    def _put(self, download: Download) -> Download:
        self._downloads[download.name] = download
        ended = [one.name for one in self._downloads.values() if not one.is_active]
        for name in ended[: max(len(self._downloads) - MAX_KEPT, 0)]:
            del self._downloads[name]
        self._write()
        self._condition.notify_all()
        return download

    def _write(self) -> None:
        write_json(self._path, {"downloads": [asdict(one) for one in self._downloads.values()]})

    def _read(self) -> None:
        """What the last start left; a list that cannot be read is set aside as if it were empty."""
        if not self._path.exists():
            return
        try:
            rows = read_json_object(self._path)["downloads"]
            found = [_from_row(row) for row in rows]
        except (AssistantError, LookupError, TypeError, ValueError):
            logger.exception("reading %s", self._path)
            return
        self._downloads = {one.name: one for one in found}


def _from_row(row: dict[str, Any]) -> Download:
    """A download as it was written; what was under way is interrupted. Raises what `_read` expects."""
    sentences = tuple(map(str, row.get("sentences", ())))
    download = Download(**{**row, "state": DownloadState(row["state"]), "sentences": sentences})
    str(download.failure)
    HubName.parse(download.name)
    if download.kind not in KINDS:
        raise ValueError(download.kind)
    return replace(download, state=DownloadState.PAUSED, eta_s=None) if download.is_active else download
