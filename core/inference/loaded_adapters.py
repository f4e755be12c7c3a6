"""The adapters that a loaded model can be asked to answer with, beside the weights that all of them share."""

import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from core.errors import GenerationError, ModelError
from core.inference.engine import Engine
from core.inference.runner import Runner
from core.model.adapted_model import adapters_over
from core.model.folder import find_model
from core.model.lora import Adapter, load_adapter

MAX_NAME_CHARS = 256


class LoadedAdapters:
    """Names of adapters, and the key that each has in the engine.

    A key is never used twice, so that nothing computed with an adapter is taken for another one's of the same name.
    """

    def __init__(self, engine: Engine, runner: Runner, base: Path | None) -> None:
        """`base` is the folder or file of the model; without it an adapter is held against the shape alone."""
        self._engine, self._runner, self._base = engine, runner, base
        self._keys: dict[str, str] = {}
        self._serial = count(1)
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """In the order of their loading."""
        return list(self._keys)

    def key(self, name: str | None) -> str | None:
        """What the engine calls it; None is None. Raises GenerationError when no such adapter is loaded."""
        try:
            return None if name is None else self._keys[name]
        except KeyError:
            known = ", ".join(sorted(self._keys)) or "none"
            raise GenerationError(
                "There is no adapter {name!r}; those that are loaded: {known}.", "Load it first.",
                name=name, known=known,
            ) from None  # fmt: skip

    def load(self, name: str, path: str | Path) -> None:
        """Read an adapter or run folder while the engine goes on. Raises ModelError."""
        if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            raise ModelError(
                "{name!r} is no name for an adapter.",
                "Give 1 … {most} printable characters.",
                name=name[:MAX_NAME_CHARS],
                most=MAX_NAME_CHARS,
            )
        with self._lock:
            if name in self._keys:
                raise ModelError("There is an adapter {name!r} already.", "Unload it, or give another name.", name=name)
            folder = find_model(path)
            folders = [folder] if self._base is None else adapters_over(folder, self._base)
            adapter = read_adapters(folders, self._runner)
            key = f"{name} {next(self._serial)}"
            self._engine.call(lambda scheduler: scheduler.runner.add_adapter(key, adapter))
            self._keys[name] = key

    def unload(self, name: str) -> None:
        """Forget an adapter; answers that are under way or waiting with it are finished. Raises ModelError."""
        with self._lock:
            if name not in self._keys:
                known = ", ".join(self._keys) or "none"
                raise ModelError("There is no adapter {name!r}.", "Loaded are: {known}.", name=name, known=known)
            key = self._keys.pop(name)
            self._engine.call(lambda scheduler: scheduler.remove_adapter(key))


def read_adapters(folders: Sequence[Path], runner: Runner) -> Adapter:
    """Adapter folders that stand on each other, as one adapter of the runner's model. Raises ModelError."""
    return load_adapter(folders, runner.config, runner.weight)
