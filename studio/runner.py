"""Starting, stopping, killing and resuming jobs, from any program and any number of them at once.

Whoever starts a job starts its supervisor, a process of its own, and leaves. Whoever stops one leaves a file, which
supervisor and trainer look for. A lock for each run lets one start or resume win; the other gets a sentence.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from filelock import FileLock, Timeout

from core.config.train_config import TrainConfig
from core.errors import BusyError, ConfigError, Sentence, TrainingError
from core.files import write_json
from studio.failures import Failure
from studio.identity import ProcessIdentity
from studio.job_folder import Attempt, End, Job, JobFolder, JobSpec, JobState
from studio.job_store import JobStore, locked
from studio.processes import RUN_VARIABLE, end_processes

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 30.0
KILL_TIMEOUT_S = 10.0
POLL_S = 0.02


def start(  # noqa: PLR0913 - all but the config by keyword
    store: JobStore,
    config: TrainConfig,
    *,
    name: str = "",
    nproc: int = 1,
    max_restarts: int = 0,
    prepare: dict[str, Any] | None = None,
    queued: bool = False,
    metadata: dict[str, Any] | None = None,
) -> Job:
    """Start a training run, or put it last in the queue. Its output is the run's folder, whatever the config says.

    `prepare` are files to make the run's data of first, as `studio.prepare_files` reads it.
    Raises: ConfigError for settings that do not go together, TrainingError when nothing can be written or started.
    """
    if nproc < 1:
        raise ConfigError("nproc is {nproc}, the minimum is 1.", "Give the number of processes.", nproc=nproc)
    job_id = store.new_id(config.stage)
    folder = JobFolder(store.runs / job_id)
    places = {
        "output": str(folder.root),
        "data": str(folder.data) if prepare else absolute(config.data),
        "base": absolute(config.base) if config.base is not None else None,
        "mixture": {absolute(path): share for path, share in config.mixture.items()},
    }
    config = TrainConfig.from_dict({**config.to_dict(), **places})
    if prepare is not None:
        from studio.prepare_files import check_prepare

        prepare = check_prepare(prepare, config)
    spec = JobSpec(
        "train",
        name or config.stage.upper(),
        time.time(),
        nproc=nproc,
        max_restarts=max_restarts,
        prepare=prepare,
        queued=queued,
        metadata=metadata or {},
    )
    return _begin(store, job_id, spec, lambda made: write_json(made.config, config.to_dict()))


def start_program(  # noqa: PLR0913 - what it is by position, the rest by keyword
    store: JobStore,
    kind: str,
    module: str,
    arguments: tuple[str, ...] | list[str],
    *,
    name: str = "",
    queued: bool = False,
    metadata: dict[str, Any] | None = None,
) -> Job:
    """Run `python -m module *arguments` as a job. "{run}" in an argument is the run's folder, for what it writes."""
    spec = JobSpec(
        kind,
        name or kind,
        time.time(),
        module=module,
        arguments=tuple(arguments),
        queued=queued,
        metadata=metadata or {},
    )
    return _begin(store, store.new_id(kind), spec, lambda _: None)


def stop(store: JobStore, job_id: str) -> None:
    """Ask a job to end orderly: a training run saves a checkpoint first. One that waits leaves the queue.

    Raises: TrainingError when it does not run.
    """
    folder = JobFolder(store.folder(job_id))
    if _leave_queue(store, job_id, folder):
        return
    job = store.job(job_id)
    if not job.state.is_live:
        raise TrainingError(
            "{run} is not running: it is {what}.", "There is nothing to stop.", run=job_id, what=job.state
        )
    try:
        folder.stop.touch()
    except OSError as exc:
        raise TrainingError(
            "{run} could not be asked to stop: {reason}.", "Free some space.", kind="disk_full", run=job_id, reason=exc
        ) from exc
    attend(store)


def kill(store: JobStore, job_id: str) -> None:
    """End all processes of a job at once; what came after its last checkpoint is lost.

    Its supervisor does that; where that is gone or does not answer, it is done from here.
    Raises: TrainingError when nothing of it runs.
    """
    folder = JobFolder(store.folder(job_id))
    if _leave_queue(store, job_id, folder):
        return
    job = store.job(job_id)
    if not job.state.is_live:
        raise TrainingError(
            "{run} is not running: it is {what}.", "There is nothing to kill.", run=job_id, what=job.state
        )
    with suppress(OSError):  # on a full disk it is done from here
        folder.kill.touch()
    attempt = folder.read_attempt()
    is_heard = attempt is not None and attempt.is_supervised and folder.kill.exists()
    if not is_heard or not _wait(lambda: store.job(job_id).state.is_ended, KILL_TIMEOUT_S):
        with locked(folder.start_lock, job_id):
            _end_from_outside(folder)


def resume(store: JobStore, job_id: str, *, queued: bool = False) -> Job:
    """Go on with a run that was stopped, failed or was interrupted, from its newest checkpoint; programs start again.

    What is left of the attempt before is ended first. Raises: TrainingError when it runs, waits or is finished.
    """
    folder = JobFolder(store.folder(job_id))
    with locked(folder.start_lock, job_id):
        job = store.job(job_id)
        if not job.state.is_ended or job.state is JobState.FINISHED:
            remedy = "Nothing is left to do." if job.state is JobState.FINISHED else "Look at the list of runs."
            raise TrainingError(
                "{run} cannot be resumed: it is {what} (attempt {attempt}).",
                remedy,
                run=job_id,
                what=job.state,
                attempt=job.attempt,
            )
        if not queued:
            return _start_attempt(store, folder, job.attempt + 1)
    store.edit_queue(lambda ids: [*ids, job_id])
    attend(store)
    return store.job(job_id)


def start_waiting(store: JobStore, job_id: str) -> Job:
    """Start the job whose turn it is, which leaves the queue. Raises: TrainingError when it waits no more."""
    folder = JobFolder(store.folder(job_id))
    with locked(folder.start_lock, job_id):
        job = store.job(job_id)
        if job.state is not JobState.QUEUED:
            raise TrainingError(
                "{run} does not wait: it is {what}.", "Look at the list of runs.", run=job_id, what=job.state
            )
        return _start_attempt(store, folder, job.attempt + 1)


def attend(store: JobStore) -> None:
    """See that what should run does: a supervisor for each run that lost its own, a keeper while jobs wait.

    Programs call this when they open the studio and now and then; it does nothing where all is well.
    """
    for job in store.jobs():
        if job.state.is_live:
            with suppress(BusyError):  # somebody else does it, or starts or ends it
                _adopt(store, JobFolder(job.folder))
    if store.queue() and not _is_held(store.keeper_lock):
        spawn("studio.queue_keeper", [str(store.root)], store.root / "keeper.log")


def absolute(path: str) -> str:
    """A path that stays right when another program, elsewhere, goes on; a hub's name as it is."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def spawn(module: str, arguments: list[str], log: Path) -> Popen[bytes]:
    """Start `python -m module` in a session of its own: it lives on when this program, or its terminal, ends."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.pop(RUN_VARIABLE, None)
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        import subprocess

        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    with log.open("ab") as file:
        process = Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=DEVNULL,
            stdout=file,
            stderr=file,
            env=environment,
            **options,
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that its end leaves no zombie here
    return process


def _begin(store: JobStore, job_id: str, spec: JobSpec, fill: Callable[[JobFolder], None]) -> Job:
    """Make the job's folder and start it, or let it wait."""
    if spec.queued:
        store.add(job_id, spec, fill)
        store.edit_queue(lambda ids: [*ids, job_id])
        attend(store)
        return store.job(job_id)
    first = _new_attempt(1)

    def fill_both(made: JobFolder) -> None:
        fill(made)
        made.write_attempt(first)  # from here on it is starting, and interrupted if we end now

    folder = JobFolder(store.runs / job_id)
    with locked(folder.start_lock, job_id):
        store.add(job_id, spec, fill_both)
        return _supervise(store, folder, 1)


def _start_attempt(store: JobStore, folder: JobFolder, number: int) -> Job:
    """End what is left, clear what was asked of the last attempt and start another. The start lock is held."""
    end_processes(folder.root)
    for path in (folder.stop, folder.kill):
        path.unlink(missing_ok=True)
    try:
        folder.write_attempt(_new_attempt(number))
    except OSError as exc:
        raise TrainingError(
            "{run} could not be started: {reason}.",
            "Free some space.",
            kind="disk_full",
            run=folder.root.name,
            reason=exc,
        ) from exc
    store.edit_queue(lambda ids: [job_id for job_id in ids if job_id != folder.root.name])
    return _supervise(store, folder, number)


def _new_attempt(number: int) -> Attempt:
    return Attempt(number, "starting", time.time(), starter=ProcessIdentity.this())


def _supervise(store: JobStore, folder: JobFolder, number: int) -> Job:
    """Start the supervisor of an attempt and wait until it has taken over."""
    try:
        process = spawn("studio.supervisor", [str(folder.root), str(number)], folder.supervisor_log)
    except OSError as exc:
        _fail_start(folder, number, Sentence("The run's supervisor could not be started: {reason}.", reason=str(exc)))
        return store.job(folder.root.name)

    def has_come() -> bool:
        attempt = folder.read_attempt()
        is_there = attempt is not None and attempt.supervisor is not None and attempt.supervisor.pid == process.pid
        return is_there or folder.read_end(number) is not None or process.poll() is not None

    _wait(has_come, START_TIMEOUT_S)
    if process.poll() is not None:
        _fail_start(folder, number, "The run's supervisor ended at once.")
    return store.job(folder.root.name)


def _fail_start(folder: JobFolder, number: int, sentence: str) -> None:
    """Write down that an attempt has failed, unless it has an end or has come as far as a supervisor."""
    attempt = folder.read_attempt()
    if attempt is None or attempt.supervisor is not None or folder.read_end(number) is not None:
        return
    failure = Failure("other", sentence, Sentence("See {path}.", path=str(folder.supervisor_log)))
    with suppress(OSError):
        folder.write_end(number, End(JobState.FAILED, None, time.time(), failure=failure))


def _adopt(store: JobStore, folder: JobFolder) -> None:
    """Give a run whose supervisor is gone another one."""
    attempt = folder.read_attempt()
    if attempt is None or attempt.is_supervised or not attempt.is_alive:
        return
    with locked(folder.start_lock, folder.root.name, timeout_s=0):
        attempt = folder.read_attempt()
        if attempt and attempt.is_alive and not attempt.is_supervised and not folder.read_end(attempt.number):
            _supervise(store, folder, attempt.number)


def _leave_queue(store: JobStore, job_id: str, folder: JobFolder) -> bool:
    """Take a waiting job out of the queue; whether it waited."""
    with locked(folder.start_lock, job_id):
        job = store.job(job_id)
        if job.state is not JobState.QUEUED:
            return False
        if folder.read_end(job.attempt) is None and not job.attempt:
            folder.write_end(0, End(JobState.STOPPED, None, time.time()))
        store.edit_queue(lambda ids: [other for other in ids if other != job_id])
        return True


def _end_from_outside(folder: JobFolder) -> None:
    """Kill every process of a run and write down that it was stopped. The start lock is held."""
    attempt = folder.read_attempt()
    if attempt is None or folder.read_end(attempt.number):
        return
    end_processes(folder.root, attempt.supervisor)
    folder.write_end(attempt.number, End(JobState.STOPPED, None, time.time()))


def _is_held(path: Path) -> bool:
    """Whether another process holds a lock."""
    lock = FileLock(path, timeout=0, mode=0o600, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition comes true within this time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
