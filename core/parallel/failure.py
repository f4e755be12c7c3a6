"""Why a rank ended: the cause that it leaves for the launcher, and how the launcher finds the first of them all."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import AssistantError
from core.files import write_bytes

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

# torchrun's agent names this file to each process that it starts, and reads it when the process has failed.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
EXIT_LOST = 13
# What the agent sends to the ranks that are left when one has failed.
CLOSING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run ended. Of a process that is gone, only the launcher knows by which signal: that is no root."""

    sentence: str
    is_root: bool


def own_cause(rank: int, exc: BaseException) -> Cause:
    """The cause that a rank's own exception is."""
    what = str(exc) if isinstance(exc, AssistantError) else f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}"
    return Cause(f"Rank {rank}: {what}", is_root=True)


def record_cause(cause: Cause) -> None:
    """Leave the cause to the launcher, or on stderr where there is none. A process's first cause stands."""
    path = os.environ.get(ERROR_FILE)
    if not path:
        sys.stderr.write(f"{cause.sentence}\n")
        return
    if Path(path).exists():
        return
    values = {"message": cause.sentence, "timestamp": int(time.time()), "is_root": cause.is_root}
    write_bytes(Path(path), json.dumps(values).encode())


def end_process(cause: Cause) -> None:
    """Leave the cause and end at once, whatever the main thread waits for."""
    record_cause(cause)
    os._exit(EXIT_LOST)


def end_rank() -> None:
    """End a rank whose work is done and closed, at once; elsewhere do nothing.

    While Python takes itself down it ends threads that ask for it by force (before 3.14). One of gloo's asks when it
    lets go of a collective's tensor, be it late, and C++ answers by SIGABRT: the job would fail after its success.
    """
    if ERROR_FILE in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def cause_of_failure(error: "ChildFailedError") -> str:
    """One sentence for a job that failed: a rank's own error, else the signal that killed one, else what was seen."""
    failures = sorted(error.failures.items(), key=lambda item: item[1].timestamp)
    told = [failure for _, failure in failures if "timestamp" in failure.error_file_data]
    if roots := [failure for failure in told if failure.error_file_data["is_root"]]:
        return str(roots[0].message)
    for rank, failure in failures:
        if failure.exitcode < 0 and -failure.exitcode not in CLOSING_SIGNALS:
            return _killed(rank, failure)
    if told:
        return str(told[0].message)
    rank, failure = failures[0]
    return f"Rank {rank} (process {failure.pid}) ended with exit code {failure.exitcode} and left no cause."


def first_cause(folder: Path) -> str | None:
    """The first cause that ranks left anywhere in a folder: for a launcher that failed itself."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("error.json")]
    told.sort(key=lambda cause: (not cause["is_root"], cause["timestamp"]))
    return str(told[0]["message"]) if told else None


def _killed(rank: int, failure: "ProcessFailure") -> str:
    memory = " If its machine was short of memory, lower micro_batch_size." if failure.exitcode == -9 else ""
    return f"Rank {rank} (process {failure.pid}) was killed by {failure.signal_name()}.{memory}"
