"""A job on disk. Its run folder is the truth about it; whatever runs, runs for what is written here.

    job/job.json          JobSpec, written once
    job/name.txt, note.txt  what the user calls it and says of it
    job/state.json        the attempt: its phase and its processes. Written by whoever starts it, then by its supervisor
    job/heartbeat.json    where it is, every HEARTBEAT_S
    job/exit-N.json       how attempt N ended. Without it and without processes the attempt was interrupted
    job/stop, job/kill    somebody asked for that
    job/*.log             stdout and stderr of the job and of the supervisor, bounded

Every write is a rename within `job/`, so that folder's time changes with each of them: a reader that has seen the time
has seen the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from core.files import read_bytes, write_json
from studio.failures import Failure
from studio.identity import ProcessIdentity

JOB = "job"


class JobState(StrEnum):
    """What a job is doing. Interrupted is one whose processes are gone without an end on record."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_live(self) -> bool:
        """Whether its processes run."""
        return self in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)

    @property
    def is_ended(self) -> bool:
        """Whether nothing will happen to it by itself."""
        return not self.is_live and self is not JobState.QUEUED


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was asked for. `prepare` is that of `studio.prepare_files`; `metadata` is free for callers.

    `module` is the program's with `arguments`, or for kind train one that stands for the trainer.
    """

    kind: str
    name: str
    created: float
    nproc: int = 1
    max_restarts: int = 0
    prepare: dict[str, Any] | None = None
    module: str = ""
    arguments: tuple[str, ...] = ()
    queued: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Fields that this version does not know are left out."""
        known = {entry.name for entry in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        return cls(**{**given, "arguments": tuple(given.get("arguments", ()))})

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at the job: `state.json`.

    `starter` is the process that starts the supervisor, until that has come. `child` leads the processes of the job;
    `part` counts those that come after each other.
    """

    number: int
    phase: str  # starting | preparing | running | stopping
    started: float
    starter: ProcessIdentity | None = None
    supervisor: ProcessIdentity | None = None
    child: ProcessIdentity | None = None
    part: int = 0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        processes = {name: ProcessIdentity.from_dict(values.get(name)) for name in ("starter", "supervisor", "child")}
        part = int(values.get("part", 0))
        return cls(int(values["number"]), str(values["phase"]), float(values["started"]), part=part, **processes)

    @property
    def is_supervised(self) -> bool:
        """Whether its supervisor runs, or is being started."""
        overseer = self.supervisor or self.starter
        return overseer is not None and overseer.is_alive()

    @property
    def is_alive(self) -> bool:
        """Whether anything of it runs."""
        return self.is_supervised or (self.child is not None and self.child.is_alive())


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended: `exit-N.json`. `seconds` by a clock that does not jump; None where nobody measured."""

    state: JobState
    code: int | None
    ended: float
    seconds: float | None = None
    step: int | None = None
    num_steps: int | None = None
    failure: Failure | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        known = {entry.name for entry in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        return cls(**{**given, "state": JobState(values["state"]), "failure": Failure.from_dict(values.get("failure"))})


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is now. `started` and `ended` are records by the clock; `seconds` is how long the attempt ran."""

    id: str
    folder: Path
    spec: JobSpec
    state: JobState
    attempt: int
    started: float | None
    ended: float | None
    step: int | None
    num_steps: int | None
    note: str
    failure: Failure | None
    phase: str
    name: str
    seconds: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Paths of one job, and its records."""

    root: Path

    @property
    def job(self) -> Path:
        return self.root / JOB

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def data(self) -> Path:
        """Where files are prepared to, where the job does that itself."""
        return self.root / "data"

    @property
    def spec(self) -> Path:
        return self.job / "job.json"

    @property
    def name(self) -> Path:
        return self.job / "name.txt"

    @property
    def note(self) -> Path:
        return self.job / "note.txt"

    @property
    def state(self) -> Path:
        return self.job / "state.json"

    @property
    def heartbeat(self) -> Path:
        return self.job / "heartbeat.json"

    @property
    def stop(self) -> Path:
        return self.job / "stop"

    @property
    def kill(self) -> Path:
        return self.job / "kill"

    @property
    def stdout(self) -> Path:
        return self.job / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.job / "stderr.log"

    @property
    def supervisor_log(self) -> Path:
        return self.job / "supervisor.log"

    @property
    def start_lock(self) -> Path:
        """Held by who starts an attempt or ends one from outside. Beside the folder, which may go to the trash."""
        return self.root.with_name(f".{self.root.name}.lock")

    @property
    def supervisor_lock(self) -> Path:
        """Held by the supervisor as long as it lives."""
        return self.job / "supervisor.lock"

    @property
    def reserve(self) -> Path:
        """Room on the disk that the supervisor gives up to write the end."""
        return self.job / "reserve"

    def cause(self, attempt: int) -> Path:
        """Where the process that fails says why."""
        return self.job / f"cause-{attempt}.json"

    def exit(self, attempt: int) -> Path:
        return self.job / f"exit-{attempt}.json"

    def read_spec(self) -> JobSpec:
        """What was asked for; of a folder whose record is damaged, that it is a run."""
        try:
            return JobSpec.from_dict(_read(self.spec) or {})
        except TypeError:
            return JobSpec("train", self.root.name, self.root.stat().st_mtime)

    def read_attempt(self) -> Attempt | None:
        """The last attempt, or None before the first."""
        try:
            return Attempt.from_dict(_read(self.state) or {})
        except (KeyError, TypeError, ValueError):
            return None

    def write_attempt(self, attempt: Attempt) -> None:
        write_json(self.state, asdict(attempt))

    def read_end(self, attempt: int) -> End | None:
        """How an attempt ended, or None where that is not on record."""
        try:
            return End.from_dict(_read(self.exit(attempt)) or {})
        except (KeyError, TypeError, ValueError):
            return None

    def write_end(self, attempt: int, end: End) -> None:
        write_json(self.exit(attempt), asdict(end) | {"failure": end.failure.to_dict() if end.failure else None})

    def read_job(self, *, is_queued: bool) -> Job:
        """The job as it is now. Raises: FileNotFoundError when the folder has gone."""
        spec, attempt = self.read_spec(), self.read_attempt()
        # Before the end is read: a supervisor writes it and is gone.
        is_alive = attempt is not None and attempt.is_alive
        number = attempt.number if attempt else 0
        end = self.read_end(number)
        state = self._state(attempt, end, is_alive=is_alive, is_queued=is_queued)
        beat = (_read(self.heartbeat) or {}) if end is None else {}
        return Job(
            id=self.root.name,
            folder=self.root,
            spec=spec,
            state=state,
            attempt=number,
            started=attempt.started if attempt else None,
            ended=end.ended if end else None,
            step=end.step if end else beat.get("step"),
            num_steps=end.num_steps if end else beat.get("num_steps"),
            note=_text(self.note),
            failure=end.failure if end and state is JobState.FAILED else None,
            phase=attempt.phase if attempt and is_alive and not end else "",
            name=_text(self.name) or spec.name,
            seconds=end.seconds if end else beat.get("seconds"),
            eta_s=beat.get("eta_s") if is_alive else None,
        )

    def _state(self, attempt: Attempt | None, end: End | None, *, is_alive: bool, is_queued: bool) -> JobState:
        if end is None and is_alive:
            assert attempt is not None
            if attempt.phase == "stopping" or self.stop.exists() or self.kill.exists():
                return JobState.STOPPING
            return JobState.RUNNING if attempt.phase == "running" else JobState.STARTING
        if is_queued:
            return JobState.QUEUED
        return end.state if end else JobState.INTERRUPTED


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is none that can be read."""
    try:
        value = json.loads(read_bytes(path))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
