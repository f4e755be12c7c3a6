"""How fast this machine reads memory and multiplies matrices: measured once in a child, kept with its date.

The child is `doctor --measure`, with all cores and none of this process's settings of torch; it keeps what it found.
"""

import logging
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from app.paths import ROOT
from core.errors import AssistantError, SetupError
from core.files import read_json_object, write_json
from core.folders import data_dir

logger = logging.getLogger(__name__)

FILE = "machine-speed.json"
LIMIT_S = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class MachineSpeed:
    """GB/s of reading, GFLOP/s of products, and when and with how many cores they were found."""

    read_gb_per_s: float
    fp32_gflop_per_s: float
    measured_at: float
    num_cores: int

    @classmethod
    def of(cls, measured: dict[str, float]) -> Self:
        """What `app.machine.measure` found now."""
        return cls(
            read_gb_per_s=measured["read_gb_per_s"],
            fp32_gflop_per_s=measured["fp32_gflop_per_s"],
            measured_at=time.time(),
            num_cores=psutil.cpu_count() or 1,
        )

    @property
    def is_of_this_machine(self) -> bool:
        """Whether the data folder was not carried to a machine with other cores since."""
        return self.num_cores == (psutil.cpu_count() or 1)


def keep_speed(measured: dict[str, float]) -> None:
    """Write down what was measured."""
    write_json(_path(), asdict(MachineSpeed.of(measured)))


def known_speed() -> MachineSpeed | None:
    """What was measured on this machine, None where nothing was."""
    if not _path().exists():
        return None
    try:
        speed = MachineSpeed(**_numbers(read_json_object(_path())))
    except (AssistantError, TypeError, ValueError):
        return None
    return speed if speed.is_of_this_machine else None


class SpeedMeter:
    """Measures once, in the background. Methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def is_measuring(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_done(self) -> bool:
        """Whether it was measured by this meter, or could not be."""
        return self._thread is not None and not self._thread.is_alive()

    def begin(self, *, again: bool = False) -> None:
        """Measure where nothing is known yet, or `again`."""
        with self._lock:
            if self.is_measuring or (known_speed() is not None and not again):
                return
            self._thread = threading.Thread(target=_measure, name="machine speed", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join()


def measure_in_child() -> None:
    """Have a child measure and keep what it finds. Raises SetupError when it does not end well."""
    command = [sys.executable, "-m", "app", "doctor", "--measure"]
    try:
        subprocess.run(command, cwd=ROOT, capture_output=True, timeout=LIMIT_S, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise SetupError(
            "The speed of this machine could not be measured ({reason}).",
            "Run `python launch.py doctor --measure`, which says why.",
            reason=type(exc).__name__,
        ) from exc


def _measure() -> None:
    try:
        measure_in_child()
    except SetupError:
        logger.exception("measuring")


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    if not all(isinstance(value, int | float) and value > 0 for value in values.values()):
        raise ValueError("a speed is a positive number")
    return values


def _path() -> Path:
    return data_dir() / FILE
