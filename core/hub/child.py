"""The process that downloads: `python -m core.hub.child`, started by `fetch` with an environment of its own.

A job comes as one line of JSON on standard input, which then stays open: when it closes, the parent has gone, and so
does this. What happens is told as lines of JSON on standard output: `start`, `bytes`, then `done` or `error`.

Every byte goes to `files/` in the staging folder of the target, so that it can be killed at any moment and goes on
there. When all files are whole and checked the record is written and that folder renamed: a model is there as a
whole or not at all. Of an older one in its place the files that are still right are taken over.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from core.errors import AssistantError, DownloadError
from core.files import DISK_FULL, sync, write_json
from core.hub.listing import CONFIG, INDEX, MAX_SIDE_FILE_BYTES, Check, Listing, RepoFile, check_config, total_bytes
from core.hub.places import EMBEDDER, MODEL, RECORD, DownloadRecord, FileRecord, HubName, staging
from core.hub.transfer import Hub

MAX_CONFIG_BYTES = 4 * 2**20
SPACE_MARGIN = 1.05
REPORT_INTERVAL_S = 0.1

Emit = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What to download and where to: plain data."""

    name: str
    revision: str | None
    folder: str
    wait_s: float
    kind: str = MODEL


def main() -> int:
    """Do one job. An error that was foreseen is told to the parent; any other ends as a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    folder = Path(job.folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock")
        with FileLock(lock, timeout=0, mode=0o600):
            try:
                record = run(job, _emit)
            finally:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    lock.unlink()
    except Timeout:
        return _fail(DownloadError("{name} is being downloaded already.", "Wait for that one.", name=job.name))
    except AssistantError as exc:
        return _fail(exc)
    except OSError as exc:
        return _fail(_disk_error(folder, exc))
    _emit({"event": "done", "commit": record.commit})
    return 0


def run(job: Job, emit: Emit) -> DownloadRecord:
    """Download a model and put it in its folder. Raises: AssistantError; OSError when it cannot be written."""
    name, target = HubName.parse(job.name), Path(job.folder)
    hub = Hub(
        os.environ.get("HF_TOKEN", "").strip() or None,
        wait_s=job.wait_s,
        connecting=lambda host: emit({"event": "host", "host": host}),
    )
    listing = hub.listing(name, job.revision)
    seen = _seen_first(hub, listing, job.kind)
    if job.kind == EMBEDDER:
        files = listing.embedder_files(seen.get(INDEX))
    else:
        files = listing.gguf(name.file) if name.file else listing.model_files(seen.get(INDEX))
    place = Staging(target, listing.commit)
    place.prepare(files, seen)
    _check_space(place, files)
    hashes = _fetch_all(hub, listing, files, place, emit)
    record = DownloadRecord(
        str(name), job.revision, listing.commit, {file.name: FileRecord(file.size, hashes[file.name]) for file in files}
    )
    place.finish(record)
    return record


class Staging:
    """The folder in which a download becomes whole."""

    def __init__(self, target: Path, commit: str) -> None:
        self.target, self.root = target, staging(target)
        self.files, self.commit = self.root / "files", commit

    def prepare(self, files: Sequence[RepoFile], seen: dict[str, bytes]) -> None:
        """Keep what helps: the beginnings from the same commit, whole files from another, or from the old model."""
        self.files.mkdir(parents=True, exist_ok=True)
        mark = self.root / "commit"
        is_same = mark.exists() and mark.read_text(encoding="ascii", errors="replace") == self.commit
        wanted = {file.name: file for file in files}
        for path in [path for path in self.files.rglob("*") if path.is_file()]:
            name = path.relative_to(self.files).as_posix()
            is_link = path.stat().st_nlink > 1  # of the old model's file, which nothing may write to
            if name not in wanted or is_link or not (is_same or _is_right(path, wanted[name])):
                path.unlink()
        for file in files:
            (self.files / file.name).parent.mkdir(exist_ok=True)
        mark.write_text(self.commit, encoding="ascii")
        for name, content in seen.items():
            (self.files / name).write_bytes(content)
        for file in files:
            self._take_over(file)

    def present_bytes(self, file: RepoFile) -> int:
        """How much of a file is here."""
        path = self.files / file.name
        return min(path.stat().st_size, file.size) if path.exists() else 0

    def finish(self, record: DownloadRecord) -> None:
        """Put the whole model in its place, and remove the old one."""
        write_json(self.files / RECORD, record.to_dict())
        if self.target.exists():
            self.target.rename(self.root / "old")
        self.files.rename(self.target)
        sync(self.target.parent)
        shutil.rmtree(self.root)

    def _take_over(self, file: RepoFile) -> None:
        old, path = self.target / file.name, self.files / file.name
        if not path.exists() and old.is_file() and _is_right(old, file):
            try:
                os.link(old, path)
            except OSError:  # a disk without links: it is fetched again
                path.unlink(missing_ok=True)


def _is_right(path: Path, file: RepoFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    check = Check(file)
    check.read(path)
    return check.is_right


def _seen_first(hub: Hub, listing: Listing, kind: str) -> dict[str, bytes]:
    """The small files that tell whether the model runs here and which files it has; empty for a GGUF file.

    Raises: ModelError for a model that does not.
    """
    if listing.name.file:
        return {}
    seen = {}
    if kind == MODEL:
        listing.check_has_model()
        seen[CONFIG] = hub.content(listing, listing.file(CONFIG), MAX_CONFIG_BYTES)
        check_config(seen[CONFIG])
    if INDEX in listing.files:
        seen[INDEX] = hub.content(listing, listing.file(INDEX), MAX_SIDE_FILE_BYTES)
    return seen


def _check_space(place: Staging, files: Sequence[RepoFile]) -> None:
    """Raises DownloadError when the disk has no room for what is still to come."""
    missing = total_bytes(files) - sum(map(place.present_bytes, files))
    needed, free = int(missing * SPACE_MARGIN), shutil.disk_usage(place.root).free
    if needed > free:
        raise DownloadError(
            "The download needs {needed}, the disk of {folder} has {free} free.",
            "Free some space, or choose a folder on another disk.",
            needed=size_text(needed),
            folder=place.target.parent,
            free=size_text(free),
        )


def _fetch_all(hub: Hub, listing: Listing, files: Sequence[RepoFile], place: Staging, emit: Emit) -> dict[str, str]:
    """Bring every file, and give their SHA-256."""
    total, done = total_bytes(files), sum(map(place.present_bytes, files))
    emit({"event": "start", "commit": listing.commit, "num_files": len(files), "total": total, "done": done})
    hashes, told = {}, time.monotonic()
    for file in files:
        others = done - place.present_bytes(file)

        def report(size: int, file: RepoFile = file, others: int = others) -> None:
            nonlocal told
            if time.monotonic() - told >= REPORT_INTERVAL_S:
                told = time.monotonic()
                emit({"event": "bytes", "file": file.name, "done": others + size})

        hashes[file.name] = hub.fetch(listing, file, place.files / file.name, report)
        done = others + file.size
        emit({"event": "bytes", "file": file.name, "done": done})
    return hashes


def size_text(num_bytes: int) -> str:
    """`6.6 MB`, `1.2 GB`."""
    value, units = num_bytes / 1e3, ["kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:,.1f} {units[0]}"


def _disk_error(folder: Path, exc: OSError) -> DownloadError:
    reason = exc.strerror or str(exc)
    if exc.errno in DISK_FULL:
        return DownloadError(
            "The disk of {folder} is full ({reason}).",
            "Free some space and start again; it goes on where it stopped.",
            folder=folder.parent,
            reason=reason,
        )
    return DownloadError(
        "{folder} cannot be written: {reason}.", "Choose a folder that you may write to.", folder=folder, reason=reason
    )


def _fail(error: AssistantError) -> int:
    _emit({"event": "error", "kind": type(error).__name__, "sentences": error.sentences, "values": error.values})
    return 1


def _emit(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
