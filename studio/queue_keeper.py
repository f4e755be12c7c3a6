"""`python -m studio.queue_keeper STUDIO`: the one process that drains the queue, and ends when it is empty.

One job runs on a device at a time; those that somebody starts beside the queue count. Killed, it leaves the jobs and
the queue as they are: whoever next queues a job or opens the studio starts another.
"""

import logging
import shutil
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from core.config.train_config import TrainConfig
from core.errors import AssistantError
from studio.failures import Failure
from studio.job_folder import End, Job, JobFolder, JobState
from studio.job_store import JobStore
from studio.runner import attend, start_waiting

logger = logging.getLogger(__name__)

POLL_S = 1.0


def keep(store: JobStore, lock: FileLock) -> None:
    """Start waiting jobs as devices come free; return, with the lock released, when none waits."""

    def leave_if_empty(ids: list[str]) -> list[str]:
        if not ids:
            lock.release()  # while nobody can queue: who does after this finds no keeper, and starts one
        return ids

    while store.edit_queue(leave_if_empty):
        attend(store)
        _start_next(store)
        time.sleep(POLL_S)


def _start_next(store: JobStore) -> None:
    """Start the first waiting job of each free device."""
    jobs = {job.id: job for job in store.jobs()}
    busy = {device_of(job) for job in jobs.values() if job.state.is_live}
    for job_id in store.queue():
        job = jobs.get(job_id)
        if job is None:
            _drop(store, job_id)
        elif (device := device_of(job)) not in busy:
            busy.add(device)
            _start(store, job)


def _start(store: JobStore, job: Job) -> None:
    """Start a job; one that cannot be started fails, and makes room."""
    try:
        start_waiting(store, job.id)
    except AssistantError as exc:
        logger.warning("%s: %s", job.id, exc)
        _drop(store, job.id)
        failure = Failure.of(exc)
        JobFolder(job.folder).write_end(job.attempt, End(JobState.FAILED, None, time.time(), failure=failure))


def _drop(store: JobStore, job_id: str) -> None:
    store.edit_queue(lambda ids: [other for other in ids if other != job_id])


def device_of(job: Job) -> str:
    """What a job occupies: the graphics cards or the processor."""
    name = "auto"
    if job.spec.kind == "train":
        try:
            name = TrainConfig.from_json(JobFolder(job.folder).config).device
        except AssistantError:
            logger.warning("the config of %s cannot be read", job.id)
    if name == "auto":
        return "cuda" if shutil.which("nvidia-smi") else "cpu"
    return name


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    store = JobStore(Path(sys.argv[1]))
    lock = FileLock(store.keeper_lock, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return 0
    try:
        keep(store, lock)
    except AssistantError:
        logger.exception("the queue cannot be kept")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
