"""The .venv of this clone: where it is, what of it is installed, and the lock over changing it.

The stamp in .venv says which parts were installed to their end, and from which lock files. A part is
struck off before it is touched and put back when it is done, so a killed install is seen as missing.
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LOCK_FILES = {
    "pip": "requirements-pip.lock",
    "packages": "requirements.lock",
    "torch": "requirements-torch.txt",
    "test packages": "requirements-test.lock",
}
WAIT_STEP_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """The virtual environment of the clone at `root`."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def log(self) -> Path:
        """What pip said, in full."""
        return self.folder / "install.log"

    @property
    def stamp(self) -> Path:
        return self.folder / "installed.json"

    def lock_file(self, part: str) -> Path:
        return self.root / LOCK_FILES[part]

    def missing(self, *, is_testing: bool, torch: str | None) -> list[str]:
        """The parts still to install, in order; "venv" comes first where there is no usable Python.

        `torch` is the build asked for (cpu or cuda); None accepts the one that is there.
        """
        installed = self.installed()
        if not self.python.exists() or installed.get("interpreter") != os.path.realpath(self.python):
            return ["venv", *self.parts(is_testing)]
        parts = [part for part in self.parts(is_testing) if installed.get(part) != self.digest(part)]
        if torch is not None and torch != installed.get("torch build") and "torch" not in parts:
            parts.append("torch")
        return parts

    def installed(self) -> dict[str, str]:
        """The stamp; empty if there is none or it cannot be read."""
        try:
            stamp = json.loads(self.stamp.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return stamp if isinstance(stamp, dict) else {}

    def update_stamp(self, *, drop: str | None = None, **entries: str) -> None:
        """Leave one entry out of the stamp and put others in."""
        stamp = {name: value for name, value in self.installed().items() if name != drop} | entries
        temporary = self.stamp.with_suffix(".tmp")
        temporary.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        os.replace(temporary, self.stamp)

    def digest(self, part: str) -> str:
        """The hash of the file that says what a part holds."""
        return hashlib.sha256(self.lock_file(part).read_bytes()).hexdigest()

    @staticmethod
    def parts(is_testing: bool) -> list[str]:
        """Everything to install, in order: pip itself first, for an old one cannot plan without downloading."""
        return ["pip", "packages", "torch", *(["test packages"] if is_testing else [])]

    @contextlib.contextmanager
    def locked(self) -> Iterator[int]:
        """Be the only launch that changes the environment; gives the lock's file descriptor.

        The system drops the lock when its last holder dies, so a killed launch blocks nobody.
        """
        with (self.root / ".venv.lock").open("ab") as file:
            if not try_lock(file):
                sys.stderr.write("Another start is installing here. Waiting for it.\n")
                while not try_lock(file):
                    time.sleep(WAIT_STEP_S)
            yield file.fileno()


def try_lock(file: BinaryIO) -> bool:
    """Take the system's lock on an open file, or say that another process has it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
