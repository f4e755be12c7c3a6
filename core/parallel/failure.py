"""Why a rank ended: the cause that it leaves for the launcher, and how the launcher finds the first of them all."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from core.errors import AssistantError, Sentence, is_out_of_memory, packed, unpacked
from core.files import DISK_FULL, write_bytes

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

# torchrun's agent names this file to each process that it starts, and reads it when the process has failed.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
EXIT_LOST = 13
# What the agent sends to the ranks that are left when one has failed.
CLOSING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a run ended. Of a process that is gone, only the launcher knows by which signal: that is no root.

    `kind` is that of `core.errors`.
    """

    sentence: str
    is_root: bool
    kind: str = "other"
    remedy: str = ""

    @classmethod
    def of(cls, error: AssistantError) -> Self:
        """The cause that an error is."""
        return cls(error.whole, is_root=True, kind=error.kind, remedy=error.advice)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` gave; the file that a rank leaves has more beside it."""
        sentence, remedy = unpacked(values["sentence"]), unpacked(values["remedy"])
        return cls(sentence, values["is_root"], values["kind"], remedy)

    def to_dict(self) -> dict[str, Any]:
        """As JSON that keeps the values of the sentences."""
        sentence, remedy = packed(self.sentence), packed(self.remedy)
        return {"sentence": sentence, "is_root": self.is_root, "kind": self.kind, "remedy": remedy}

    def __str__(self) -> str:
        return f"{self.sentence} {self.remedy}".rstrip()


def own_cause(rank: int, exc: BaseException) -> Cause:
    """The cause that a rank's own exception is."""
    if isinstance(exc, AssistantError):
        cause = Cause.of(exc)
        return replace(cause, sentence=Sentence("Rank {rank}: {reason}", rank=rank, reason=cause.sentence))
    what = f"{type(exc).__name__}: {str(exc).partition(chr(10))[0]}"
    return Cause(Sentence("Rank {rank}: {reason}", rank=rank, reason=what), is_root=True, kind=_kind_of(exc))


def _kind_of(exc: BaseException) -> str:
    """The kind of an exception of Python or torch."""
    if is_out_of_memory(exc):
        return "oom"
    return "disk_full" if isinstance(exc, OSError) and exc.errno in DISK_FULL else "other"


def record_cause(cause: Cause) -> None:
    """Leave the cause to the launcher, or on stderr where there is none. A process's first cause stands."""
    path = os.environ.get(ERROR_FILE)
    if not path:
        sys.stderr.write(f"{cause}\n")
        return
    if Path(path).exists():
        return
    values = {"message": str(cause), "timestamp": int(time.time()), **cause.to_dict()}
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


def cause_of_failure(error: "ChildFailedError") -> Cause:
    """Why a job failed: a rank's own error, else the signal that killed one, else what was seen."""
    failures = sorted(error.failures.items(), key=lambda item: item[1].timestamp)
    told = [failure for _, failure in failures if "timestamp" in failure.error_file_data]
    if roots := [failure for failure in told if failure.error_file_data["is_root"]]:
        return Cause.from_dict(roots[0].error_file_data)
    for rank, failure in failures:
        if failure.exitcode < 0 and -failure.exitcode not in CLOSING_SIGNALS:
            return _killed(rank, failure)
    if told:
        return Cause.from_dict(told[0].error_file_data)
    rank, failure = failures[0]
    sentence = Sentence(
        "Rank {rank} (process {process}) ended with exit code {code} and left no cause.",
        rank=rank, process=failure.pid, code=failure.exitcode,
    )  # fmt: skip
    return Cause(sentence, is_root=True)


def first_cause(folder: Path) -> Cause | None:
    """The first cause that ranks left anywhere in a folder: for a launcher that failed itself."""
    told = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("error.json")]
    told.sort(key=lambda cause: (not cause["is_root"], cause["timestamp"]))
    return Cause.from_dict(told[0]) if told else None


def _killed(rank: int, failure: "ProcessFailure") -> Cause:
    remedy = "If its machine was short of memory, lower micro_batch_size." if failure.exitcode == -9 else ""
    sentence = Sentence(
        "Rank {rank} (process {process}) was killed by {signal}.",
        rank=rank, process=failure.pid, signal=failure.signal_name(),
    )  # fmt: skip
    return Cause(sentence, is_root=True, kind="killed", remedy=remedy)
