"""`python -m studio.supervisor RUN ATTEMPT`: the process that sees one attempt of a job from its start to its end.

It belongs to nobody: who started it may end. It starts the job's processes, watches for the files by which users ask
them to end, keeps the heartbeat and the logs' size, and writes how the attempt ended. Killed itself, it leaves the job
running; the next one that is started for the attempt takes over.

Stop: the trainer sees the file itself, saves a checkpoint and ends. What shows no life for PATIENCE_S after that gets
SIGTERM, then SIGKILL. A checkpoint that is being written is a sign of life.
"""

import json
import logging
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from core.errors import AssistantError, Sentence
from core.files import write_json
from core.parallel.priority import asks_for_background, lower_priority
from studio.child import Child, Rows, bound_log, commands_of
from studio.failures import Failure, failure_of_exit
from studio.identity import ProcessIdentity
from studio.job_folder import Attempt, End, JobFolder, JobState
from studio.job_store import tail
from studio.processes import end_processes

logger = logging.getLogger(__name__)

POLL_S = 0.2
HEARTBEAT_S = 2.0
PATIENCE_S = 600.0
LOCK_TIMEOUT_S = 5.0
# Room on the disk for the record of the end, where the job has filled it.
RESERVE_BYTES = 64 * 1024
RETRY_S = 5.0
RETRIES = 720


class Supervisor:
    """One attempt of a job."""

    def __init__(self, folder: JobFolder, attempt: Attempt, *, patience_s: float = PATIENCE_S) -> None:
        self.folder, self.attempt, self._patience_s = folder, attempt, patience_s
        self.spec = folder.read_spec()
        self._rows = Rows(folder.stdout)
        self._begun, self._beaten = time.monotonic(), 0.0
        self._num_oom_kills = num_oom_kills()
        self._progress: dict[str, Any] = {}
        self._result: str | None = None
        self._life: tuple[Any, ...] = ()
        self._lived = time.monotonic()
        self._is_terminated = False

    def run(self) -> End:
        """See the attempt to its end, which is on disk when this returns."""
        self._reserve()
        self._note(supervisor=ProcessIdentity.this())
        code = self._run_all()
        end_processes(self.folder.root)
        self._take_rows()
        end = self._end(code)
        self._write_end(end)
        logger.info("attempt %s ended: %s", self.attempt.number, end.state)
        return end

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """The system ends all programs: the job saves what it has."""
        with suppress(OSError):
            self.folder.stop.touch()

    def _run_all(self) -> int | None:
        """The job's processes, one after the other; the exit code of the last."""
        code: int | None = 0
        running, adopted = self.attempt.part, self.attempt.child
        for part, command in enumerate(commands_of(self.folder, self.spec)):
            if part < running or (command.is_done() and not adopted):
                continue
            if adopted is not None:
                child, adopted = Child.adopted(adopted), None
            elif self.folder.stop.exists() or self.folder.kill.exists():
                return code
            else:
                self._rows.restart()
                child = Child.start(command, self.folder, self.attempt.number)
                self._note(phase=command.phase, part=part, child=child.identity)
            code = self._watch(child)
            if code or not command.is_done():
                return code
        return code

    def _watch(self, child: Child) -> int | None:
        """Wait for a process and do what is asked meanwhile; its exit code, None where only its end was seen."""
        self._lived = time.monotonic()
        while child.is_alive():
            self._take_rows()
            if self.folder.kill.exists():
                end_processes(self.folder.root)
            elif self.folder.stop.exists():
                self._stop(child)
            for log in (self.folder.stdout, self.folder.stderr, self.folder.supervisor_log):
                if bound_log(log) and log == self.folder.stdout:
                    self._rows.skip_to_end()
            self._beat()
            time.sleep(POLL_S)
        return child.code

    def _stop(self, child: Child) -> None:
        """See that a job which was asked to stop does; called again and again until it has."""
        if self.attempt.phase != "stopping":
            has_begun = self.spec.kind == "train" and self.attempt.phase == "running"
            self._note(phase="stopping")
            self._lived = time.monotonic()
            if not has_begun:  # there is nothing to save, or nobody looks for the file
                self._terminate(child)
        if self._silence_s() < self._patience_s:
            return
        logger.warning("no sign of life for %.0f s after the stop", self._silence_s())
        self._lived = time.monotonic()
        if self._is_terminated:
            end_processes(self.folder.root)
        self._terminate(child)

    def _terminate(self, child: Child) -> None:
        child.terminate()
        self._is_terminated = True

    def _silence_s(self) -> float:
        """Seconds since a step was reported or a checkpoint grew."""
        life = (self._progress.get("step"), *_sizes(self.folder.root))
        if life != self._life:
            self._life, self._lived = life, time.monotonic()
        return time.monotonic() - self._lived

    def _take_rows(self) -> None:
        """Take in what the job reports of itself."""
        for row in self._rows.poll():
            if "num_parameters" in row:
                self._progress |= {"step": row.get("first_step"), "num_steps": row.get("num_steps")}
                if self.attempt.phase == "starting":
                    self._note(phase="running")
            elif "result" in row:
                self._result = str(row["result"])
            elif "preparing" in row:
                self._progress |= {name: row.get(name) for name in ("preparing", "done", "total")}
            else:
                names = ("step", "num_steps", "eta_s")
                self._progress |= {name: row[name] for name in names if name in row}
        if self.spec.kind != "train" and self.attempt.phase == "starting":
            self._note(phase="running")

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < HEARTBEAT_S:
            return
        self._beaten = time.monotonic()
        now = {"time": time.time(), "monotonic": time.monotonic(), "seconds": time.monotonic() - self._begun}
        with suppress(OSError):  # a full disk stops the job, not this
            write_json(self.folder.heartbeat, {**now, "phase": self.attempt.phase, **self._progress})

    def _note(self, **changes: Any) -> None:
        """Change the attempt, on disk too."""
        self.attempt = replace(self.attempt, **changes)
        try:
            self.folder.write_attempt(self.attempt)
        except OSError:
            logger.exception("the state could not be written")

    def _end(self, code: int | None) -> End:
        state, failure = self._judge(code)
        step, num_steps = self._progress.get("step"), self._progress.get("num_steps")
        seconds = time.monotonic() - self._begun
        return End(state, code, time.time(), seconds, step, num_steps, failure)

    def _judge(self, code: int | None) -> tuple[JobState, Failure | None]:
        """How it ended. That it is gone is no proof that it finished."""
        if self._result is not None:
            return (JobState.FINISHED if Path(self._result).name == "model" else JobState.STOPPED), None
        if self.folder.kill.exists():
            return JobState.STOPPED, None
        cause = read_cause(self.folder.cause(self.attempt.number))
        if code == 0 and self.spec.kind != "train":
            return JobState.FINISHED, None
        if self.folder.stop.exists() and (cause is None or self._is_terminated):
            return JobState.STOPPED, None
        ran_out = num_oom_kills() > self._num_oom_kills
        return JobState.FAILED, cause or failure_of_exit(
            code, tail(self.folder.stderr, 4000), ran_out_of_memory=ran_out
        )

    def _reserve(self) -> None:
        with suppress(OSError):
            self.folder.reserve.write_bytes(bytes(RESERVE_BYTES))

    def _write_end(self, end: End) -> None:
        """Write the end, on a full disk with the room that was kept for it, or as soon as there is some."""
        for _ in range(RETRIES):
            with suppress(OSError):
                self.folder.reserve.unlink(missing_ok=True)
            try:
                self.folder.write_end(self.attempt.number, end)
            except OSError:
                logger.exception("the end could not be written")
                time.sleep(RETRY_S)
            else:
                break
        for path in (self.folder.stop, self.folder.kill):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def read_cause(path: Path) -> Failure | None:
    """What the process that failed left, or None."""
    try:
        return Failure.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def num_oom_kills() -> int:
    """How many processes this machine has ended for lack of memory since it started, where it tells."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _sizes(run: Path) -> tuple[tuple[str, int], ...]:
    """The files of the checkpoints that are being written, and the run's metrics."""
    sizes = []
    for path in (*run.glob("checkpoints/.step-*.tmp/*"), *run.glob("model*/*"), run / "metrics.jsonl"):
        with suppress(OSError):
            sizes.append((str(path), path.stat().st_size))
    return tuple(sorted(sizes))


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    folder, number = JobFolder(Path(sys.argv[1])), int(sys.argv[2])
    if asks_for_background("1"):
        lower_priority()
    lock = FileLock(folder.supervisor_lock, timeout=LOCK_TIMEOUT_S, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        logger.warning("another supervisor is there")
        return 1
    attempt = folder.read_attempt()
    if attempt is None or attempt.number != number or folder.read_end(number) is not None:
        logger.warning("attempt %s is over", number)
        return 1
    supervisor = Supervisor(folder, attempt)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, supervisor.ask_to_stop)
    try:
        supervisor.run()
    except Exception as exc:
        logger.exception("attempt %s could not be supervised", number)
        end_processes(folder.root)
        if isinstance(exc, AssistantError):
            failure = Failure.of(exc)
        else:
            told = Sentence("The run could not be watched: {reason}", reason=str(exc))
            failure = Failure("other", told, Sentence("See {path}.", path=str(folder.supervisor_log)))
        folder.write_end(number, End(JobState.FAILED, None, time.time(), failure=failure))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
