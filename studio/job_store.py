"""The jobs of one studio folder: listed, named, noted, queued, thrown away. Starting and ending them is `runner`.

    runs/ID       a run folder with its job (`job_folder`)
    trash/ID      what was thrown away
    queue.json    the ids that wait, in order; changed under queue.lock

Nothing is kept beside the folders. What was read of a run stays in memory as long as the time of its `job/` folder
does, so a listing costs one look at each run, and a reading of those that changed.
"""

import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import BusyError, TrainingError
from core.files import make_folder, read_json_object, sync, write_bytes, write_json
from studio.job_folder import JOB, Job, JobFolder, JobSpec

ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,80}")
LOCK_TIMEOUT_S = 10
# A folder that changed so lately may change again within the same tick of its time.
SETTLED_S = 1.0
MAX_TEXT_CHARS = 20_000
# Colours, cursor movements and other control characters: a log is shown, never obeyed.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class JobStore:
    """The jobs in a folder, which other programs may use at the same time. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.runs, self.trash_folder = folder / "runs", folder / "trash"
        self._queue = folder / "queue.json"
        self._queue_lock = FileLock(folder / "queue.lock", timeout=LOCK_TIMEOUT_S, mode=0o600, thread_local=False)
        self._ended: dict[str, tuple[int, Job]] = {}
        self._guard = threading.Lock()
        make_folder(self.runs)

    @property
    def keeper_lock(self) -> Path:
        """Held by the process that drains the queue."""
        return self.root / "keeper.lock"

    def new_id(self, kind: str) -> str:
        """`20261126-084512-sft-a1b2`."""
        return f"{time.strftime('%Y%m%d-%H%M%S')}-{kind.replace('_', '-')}-{secrets.token_hex(2)}"

    def jobs(self) -> list[Job]:
        """Every job, newest first."""
        queue = set(self.queue())
        with self._guard:
            found = [self._read(path.name, queue) for path in self.runs.iterdir() if ID.fullmatch(path.name)]
            jobs = [job for job in found if job is not None]
            self._ended = {job.id: self._ended[job.id] for job in jobs if job.id in self._ended}
        return sorted(jobs, key=lambda job: (job.spec.created, job.id), reverse=True)

    def job(self, job_id: str) -> Job:
        """One job. Raises: TrainingError when there is none of this id."""
        folder = self.folder(job_id)
        try:
            return JobFolder(folder).read_job(is_queued=job_id in self.queue())
        except FileNotFoundError as exc:
            raise _unknown(job_id) from exc

    def folder(self, job_id: str) -> Path:
        """The run folder of a job. Raises: TrainingError when there is none of this id."""
        folder = self.runs / job_id
        if not ID.fullmatch(job_id) or not folder.is_dir():
            raise _unknown(job_id)
        return folder

    def add(self, job_id: str, spec: JobSpec, fill: Callable[[JobFolder], None]) -> JobFolder:
        """Make a job's folder, whole or not at all; `fill` writes what else is in it."""
        temporary = JobFolder(self.runs / f".{job_id}.tmp")
        try:
            make_folder(temporary.job)
            write_json(temporary.spec, spec.to_dict())
            fill(temporary)
            temporary.root.rename(self.runs / job_id)
            sync(self.runs)
        except OSError as exc:
            shutil.rmtree(temporary.root, ignore_errors=True)
            raise TrainingError(
                "The run could not be written to {folder}: {reason}.",
                "Free some space there.",
                kind="disk_full",
                folder=self.runs,
                reason=exc,
            ) from exc
        return JobFolder(self.runs / job_id)

    def set_note(self, job_id: str, text: str) -> None:
        """What the user says of a job."""
        write_bytes(JobFolder(self.folder(job_id)).note, text[:MAX_TEXT_CHARS].encode())

    def rename(self, job_id: str, name: str) -> None:
        """What the user calls a job; empty for what it was called first."""
        write_bytes(JobFolder(self.folder(job_id)).name, " ".join(CONTROL.sub("", name).split())[:200].encode())

    def trash(self, job_id: str) -> Path:
        """Move a job that does not run to the trash; returns where it is now. Raises: TrainingError if it runs."""
        folder = JobFolder(self.folder(job_id))
        with locked(folder.start_lock, job_id):
            if self.job(job_id).state.is_live:
                raise TrainingError("{run} is running.", "Stop it first.", run=job_id)
            self.edit_queue(lambda ids: [other for other in ids if other != job_id])
            target = self.trash_folder / job_id
            target.parent.mkdir(exist_ok=True)
            folder.root.rename(target)
        folder.start_lock.unlink(missing_ok=True)
        return target

    def queue(self) -> list[str]:
        """The ids of the jobs that wait, in order."""
        if not self._queue.exists():
            return []
        try:
            ids = read_json_object(self._queue, TrainingError).get("ids")
        except TrainingError:  # it holds nothing that the folders do not: whoever waits is interrupted, and resumed
            return []
        ids = ids if isinstance(ids, list) else []
        return [job_id for job_id in ids if isinstance(job_id, str) and ID.fullmatch(job_id)]

    def reorder(self, ids: Sequence[str]) -> list[str]:
        """Put the waiting jobs into this order; those not named keep theirs, at the end. Returns the new order."""
        return self.edit_queue(
            lambda waiting: [
                *(job_id for job_id in dict.fromkeys(ids) if job_id in waiting),
                *(job_id for job_id in waiting if job_id not in ids),
            ]
        )

    def edit_queue(self, edit: Callable[[list[str]], Iterable[str]]) -> list[str]:
        """Change the queue while nobody else does. Raises: BusyError when somebody else does for too long."""
        try:
            with self._queue_lock:
                before = self.queue()
                ids = list(edit(before))
                if ids != before:
                    write_json(self._queue, {"ids": ids})
                return ids
        except Timeout as exc:
            raise BusyError("Another program changes the queue.", "Try again.") from exc

    def log_tail(self, job_id: str, num_bytes: int = 20_000) -> str:
        """The end of what the job wrote: its words on stdout that are no rows, then its stderr."""
        folder = JobFolder(self.folder(job_id))
        told = "\n".join(
            line for line in tail(folder.stdout, num_bytes).splitlines() if line and not line.startswith("{")
        )
        return "\n".join(filter(None, (told, tail(folder.stderr, num_bytes))))

    def _read(self, job_id: str, queue: set[str]) -> Job | None:
        """A job, from memory if it has ended and nothing was written since; None when its folder has gone."""
        try:
            # Of many runs making a path for each takes longer than the look itself.
            changed = os.stat(f"{self.runs}/{job_id}/{JOB}").st_mtime_ns  # noqa: PTH116
            seen = self._ended.get(job_id)
            if seen and seen[0] == changed and job_id not in queue:
                return seen[1]
            job = JobFolder(self.runs / job_id).read_job(is_queued=job_id in queue)
        except OSError:
            return None
        if job.state.is_ended and time.time_ns() - changed > SETTLED_S * 1e9:
            self._ended[job_id] = (changed, job)
        return job


@contextmanager
def locked(path: Path, job_id: str, *, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold a lock of the operating system, which goes with the process. Raises: BusyError."""
    lock = FileLock(path, timeout=timeout_s, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout as exc:
        raise BusyError(
            "{run} is being started or ended just now.", "Look at it again in a moment.", run=job_id
        ) from exc
    try:
        yield
    finally:
        lock.release()


def tail(path: Path, num_bytes: int) -> str:
    """The last lines of a log within so many bytes, without control characters."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - num_bytes, 0))
            content = file.read(num_bytes)
    except OSError:
        return ""
    if size > num_bytes:
        content = content.partition(b"\n")[2] or content
    lines = (line.rpartition("\r")[2] for line in content.decode(errors="replace").replace("\r\n", "\n").split("\n"))
    return CONTROL.sub("", "\n".join(lines)).strip("\n")


def _unknown(job_id: str) -> TrainingError:
    return TrainingError("There is no run {run!r}.", "Look at the list of runs.", run=job_id[:100])
