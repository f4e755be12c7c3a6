"""Which process is meant: a pid alone may be another process's by now, of a later start or of a later boot."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import psutil

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# How far two readings of one start time may lie apart where the system computes it.
TOLERANCE_S = 0.02


@cache
def boot_id() -> str:
    """The name of this boot where the system has one; elsewhere empty, as start times tell boots apart there."""
    return BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.exists() else ""


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process of this machine. `create_time` counts seconds from the boot on Linux, where it so outlives a jump of
    the clock, and from 1970 elsewhere."""

    pid: int
    create_time: float
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """That of a process which runs now, or None."""
        created = _create_time(pid)
        return None if created is None else cls(pid, created, boot_id())

    @classmethod
    def this(cls) -> Self:
        """That of this process."""
        identity = cls.of(os.getpid())
        assert identity is not None
        return identity

    @classmethod
    def from_dict(cls, values: Any) -> Self | None:
        """What `asdict` gave, or None for anything else."""
        try:
            return cls(int(values["pid"]), float(values["create_time"]), str(values["boot_id"]))
        except (TypeError, KeyError, ValueError):
            return None

    def is_alive(self) -> bool:
        """Whether exactly this process runs; one that has ended and waits for its parent does not."""
        if self.boot_id != boot_id():
            return False
        created = _create_time(self.pid)
        return created is not None and abs(created - self.create_time) < TOLERANCE_S


def _create_time(pid: int) -> float | None:
    """When the process of this pid started, or None where none runs."""
    if BOOT_ID.exists():
        return _linux_create_time(pid)
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def _linux_create_time(pid: int) -> float | None:
    """From /proc/PID/stat (proc(5)): psutil's figure moves with the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    state, start_ticks = fields[0], int(fields[19])
    return None if state in (b"Z", b"X") else start_ticks / os.sysconf("SC_CLK_TCK")
