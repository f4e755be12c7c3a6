"""The processes that a supervisor starts: their commands, their ends, the rows they report, the size of their logs.

Output goes to files and never to a pipe: nobody need read it, and who starts or watches a job may be gone.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any, Self

import psutil

from core.config.train_config import TrainConfig
from core.parallel.failure import ERROR_FILE
from core.parallel.launch import STOP_FILE, launch_command, launch_environment
from core.parallel.priority import BACKGROUND, asks_for_background, lower_session
from studio.identity import ProcessIdentity
from studio.job_folder import JobFolder, JobSpec
from studio.processes import RUN_VARIABLE

TRAINER = "core.trainer"
MAX_LOG_BYTES = 4 * 2**20
KEPT_LOG_BYTES = 2**20
MAX_ROW_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Command:
    """One process of a job: its command line, the phase that it is, and for one that others follow what it makes."""

    phase: str
    line: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    makes: Path | None = None

    def is_done(self) -> bool:
        """Whether there is nothing left for it to do."""
        return self.makes is not None and self.makes.exists()


def commands_of(folder: JobFolder, spec: JobSpec) -> Iterator[Command]:
    """What a job runs, in order. Raises: ConfigError when a run's config cannot be read."""
    if spec.kind != "train":
        arguments = [argument.replace("{run}", str(folder.root)) for argument in spec.arguments]
        yield Command("starting", [sys.executable, "-m", spec.module, *arguments])
        return
    if spec.prepare is not None:
        line = [sys.executable, "-m", "studio.prepare_files", str(folder.root)]
        yield Command("preparing", line, makes=folder.data)
    arguments = [spec.module or TRAINER, str(folder.config), "--report", "--continue"]
    if spec.nproc == 1 and not spec.max_restarts:
        yield Command("starting", [sys.executable, "-m", *arguments])
        return
    yield Command(
        "starting",
        launch_command(spec.nproc, arguments, max_restarts=spec.max_restarts),
        launch_environment(TrainConfig.from_json(folder.config), spec.nproc),
    )


class Child:
    """A process of the job, started here or by a supervisor before us. `code` is its exit code once it has ended."""

    def __init__(self, identity: ProcessIdentity, process: "Popen[bytes] | None") -> None:
        self.identity, self._process = identity, process
        self.code: int | None = None

    @classmethod
    def start(cls, command: Command, folder: JobFolder, attempt: int) -> Self:
        """In a session of its own, so that a signal to the supervisor's group is not for it."""
        is_background = asks_for_background("1")
        environment = {
            **os.environ,
            **command.environment,
            RUN_VARIABLE: str(folder.root),
            STOP_FILE: str(folder.stop),
            ERROR_FILE: str(folder.cause(attempt)),
            BACKGROUND: "1" if is_background else "0",
        }
        with folder.stdout.open("wb"), folder.stdout.open("ab") as stdout, folder.stderr.open("ab") as stderr:
            process = Popen(
                command.line, stdin=DEVNULL, stdout=stdout, stderr=stderr, env=environment, **_own_session()
            )
        if is_background:
            lower_session(process.pid)
        identity = ProcessIdentity.of(process.pid)
        if identity is None:  # it has ended already
            identity = ProcessIdentity(process.pid, 0.0, "")
        return cls(identity, process)

    @classmethod
    def adopted(cls, identity: ProcessIdentity) -> Self:
        return cls(identity, None)

    def is_alive(self) -> bool:
        if self._process is None:
            return self.identity.is_alive()
        self.code = self._process.poll()
        return self.code is None

    def terminate(self) -> None:
        """Ask it by a signal to end."""
        if not self.is_alive():
            return
        with suppress(psutil.Error):
            psutil.Process(self.identity.pid).terminate()


class Rows:
    """The JSON lines in a log that grows, and now and then is cut."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._rest = path, 0, b""

    def restart(self) -> None:
        """Another process writes from the beginning."""
        self._offset, self._rest = 0, b""

    def skip_to_end(self) -> None:
        """The log was cut; what is left of it was read."""
        with suppress(OSError):
            self._offset, self._rest = self._path.stat().st_size, b""

    def poll(self) -> list[dict[str, Any]]:
        """The rows since the last call; a line that is not whole yet waits."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._rest = 0, b""
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return []
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        self._rest = self._rest[-MAX_ROW_BYTES:]
        return [row for line in lines if (row := _row(line)) is not None]


def _row(line: bytes) -> dict[str, Any] | None:
    """The object in a line, or None for other text."""
    if not line.startswith(b"{") or len(line) > MAX_ROW_BYTES:
        return None
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def bound_log(path: Path) -> bool:
    """Cut a log that has grown too long to its last lines; whether it was cut.

    Who writes appends, and so goes on behind what is kept; a line of this very moment may be lost.
    """
    try:
        if path.stat().st_size <= MAX_LOG_BYTES:
            return False
        with path.open("rb") as file:
            file.seek(-KEPT_LOG_BYTES, os.SEEK_END)
            kept = file.read(KEPT_LOG_BYTES)
        os.truncate(path, 0)
        with path.open("ab") as file:
            file.write(kept[kept.find(b"\n") + 1 : kept.rfind(b"\n") + 1] or kept)
    except OSError:
        return False
    return True


def _own_session() -> dict[str, Any]:
    if sys.platform == "win32":
        import subprocess

        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}
