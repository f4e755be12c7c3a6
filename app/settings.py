"""What the user has set for the whole program, in one file of the data folder."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from core.errors import ConfigError, Sentence
from core.files import read_json_object, write_json, writing

FILE = "settings.json"
REMEDY = "Mend it, or delete it: the usual settings are taken then."


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """The settings.

    `idle_minutes` is after how long without a question a model leaves memory; 0 never. `num_threads` is of the CPU for
    a model; 0 leaves it to the engine.
    """

    idle_minutes: int = 30
    num_threads: int = 0
    is_welcomed: bool = False

    def problems(self) -> list[Sentence]:
        """What is out of range."""
        problems = [
            Sentence(
                "{name} is {value}, not a {wanted}",
                name=one.name,
                value=repr(getattr(self, one.name)),
                wanted=type(one.default).__name__,
            )
            for one in fields(self)
            if type(getattr(self, one.name)) is not type(one.default)
        ]
        if not problems:
            problems = [
                Sentence("{name} is {value}, it must be in 0 … {most}", name=name, value=getattr(self, name), most=most)
                for name, most in (("idle_minutes", MAX_IDLE_MINUTES), ("num_threads", MAX_THREADS))
                if not 0 <= getattr(self, name) <= most
            ]
        return problems


MAX_IDLE_MINUTES, MAX_THREADS = 24 * 60, 1024


class Settings:
    """The file and who wants to know of its changes. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError for a file that cannot be read or holds what cannot be."""
        self._path, self._lock = folder / FILE, threading.Lock()
        self._listeners: list[Callable[[Values], None]] = []
        self.values = self._read()

    def change(self, **values: Any) -> Values:
        """Set some values, write them and tell the listeners.

        Raises ConfigError, or SetupError where the disk is full; nothing is changed then.
        """
        with self._lock:
            changed = replace(self.values, **values)
            if problems := changed.problems():
                raise ConfigError.of(problems, "Choose another value.")
            with writing(self._path):
                write_json(self._path, {one.name: getattr(changed, one.name) for one in fields(changed)})
            self.values = changed
        for listener in self._listeners:
            listener(changed)
        return changed

    def listen(self, listener: Callable[[Values], None]) -> None:
        """Have a function called with the values after each change."""
        self._listeners.append(listener)

    def _read(self) -> Values:
        if not self._path.exists():
            return Values()
        given = read_json_object(self._path, ConfigError, REMEDY)
        known = {one.name for one in fields(Values)}
        # A newer version's settings are no reason not to start an older one.
        values = Values(**{name: value for name, value in given.items() if name in known})
        if problems := values.problems():
            raise ConfigError("{path}: {problems}.", REMEDY, path=self._path, problems=tuple(problems))
        return values
