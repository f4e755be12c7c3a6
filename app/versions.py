"""Which version of a model answers: the model itself, or one of its adapters. A file in the user's folder.

    {"/models/small": [{"name": "20261126-084512-dpo-a1b2", "folder": …, "time": …, "is_rollback": false}, …]}

Every change is a line of the history, so that the one before it can be gone back to; nothing is ever taken out of it.
"""

import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import ConfigError, ModelError
from core.files import read_json_object, write_json

FILE = "versions.json"
REMEDY = "Delete it: every model then answers as it is."


@dataclass(frozen=True, slots=True)
class Version:
    """An adapter by name and folder; the model itself has neither."""

    name: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """That a version began to answer."""

    name: str
    folder: str
    time: float
    is_rollback: bool = False


class Versions:
    """The pointer of each model, and its history."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / FILE, threading.Lock()

    def current(self, model: Path) -> Version:
        """What answers for a model. Raises ConfigError when the file is damaged."""
        history = self.history(model)
        return Version(history[-1].name, history[-1].folder) if history else Version()

    def history(self, model: Path) -> list[Change]:
        """Every change of a model's version, oldest first."""
        return _changes(self._read(), model)

    def use(self, model: Path, version: Version) -> None:
        """Let a version answer from now on."""
        self._add(model, version, is_rollback=False)

    def roll_back(self, model: Path) -> Version:
        """Let the version before the current one answer again. Raises ModelError when there is none."""
        before = self.before(model)
        if before is None:
            raise ModelError("{name} has no earlier version.", "There is nothing to roll back to.", name=model.name)
        self._add(model, before, is_rollback=True)
        return before

    def before(self, model: Path) -> Version | None:
        """What a roll back goes to: each one undoes one change, and the model itself is before the first."""
        undone: list[Version] = []
        for change in self.history(model):
            if change.is_rollback:
                undone.pop()
            else:
                undone.append(Version(change.name, change.folder))
        if not undone:
            return None
        return undone[-2] if len(undone) > 1 else Version()

    def _add(self, model: Path, version: Version, *, is_rollback: bool) -> None:
        with self._lock:
            values = self._read()
            changes = [*_changes(values, model), Change(version.name, version.folder, time.time(), is_rollback)]
            values[str(model)] = [asdict(change) for change in changes]
            write_json(self._path, values)

    def _read(self) -> dict[str, Any]:
        if not self._path.exists():
            return {}
        return read_json_object(self._path, ConfigError, REMEDY)


def _changes(values: dict[str, Any], model: Path) -> list[Change]:
    try:
        return [Change(**row) for row in values.get(str(model), [])]
    except TypeError as exc:
        raise ConfigError("{path} is damaged: {reason}.", REMEDY, path=FILE, reason=exc) from exc
