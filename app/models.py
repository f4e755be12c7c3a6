"""The models that can be chosen, and the one that is loaded.

Loading imports torch, which takes seconds; it happens in a thread, so the page is there meanwhile. A model that nobody
asks for a while leaves memory, and the next question brings it back.
"""

import ctypes
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from app import garbage
from app.model_names import ModelNames
from app.paths import models_dir, preferences_dir, starter_dir
from app.versions import Version, Versions
from core.errors import AssistantError, ModelError
from core.folders import data_dir

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel

logger = logging.getLogger(__name__)


class ModelState(Enum):
    EMPTY = "empty"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADED = "unloaded"  # chosen, and out of memory until it is asked


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A folder that holds a model."""

    name: str
    path: Path

    @property
    def is_starter(self) -> bool:
        return self.path == starter_dir()


class ModelHolder:
    """Keeps at most one model in memory."""

    def __init__(self, extra: Path | None = None, *, trained: Callable[[], list[ModelChoice]] = list) -> None:
        """`extra` is a model folder given on the command line, chosen first; `trained` tells what runs have made."""
        self._extra, self._trained = extra, trained
        self.versions, self.names = Versions(preferences_dir()), ModelNames(data_dir())
        self._condition = threading.Condition()
        self._loading, self._adding = threading.Lock(), threading.Lock()
        self.choice: ModelChoice | None = None
        self._model: LanguageModel | None = None
        self._error: AssistantError | None = None
        self._compiling_since: float | None = None
        self._is_unloaded = False
        self.num_threads = 0  # of the next model that is loaded; 0 leaves it to the engine
        self._idle_s, self._used_at = 0.0, time.monotonic()
        self._idle_watch: threading.Thread | None = None

    @property
    def compiling_s(self) -> float | None:
        """For how long the kernels have been compiled, which the first model on a machine waits for."""
        return None if self._compiling_since is None else time.monotonic() - self._compiling_since

    @property
    def state(self) -> ModelState:
        """Where the chosen model is."""
        if self.choice is None:
            return ModelState.EMPTY
        if self._error is not None:
            return ModelState.FAILED
        if self._is_unloaded:
            return ModelState.UNLOADED
        return ModelState.LOADING if self._model is None else ModelState.READY

    def choices(self) -> list[ModelChoice]:
        """Every model: the given one, the starter, the user's and what has to do with runs; and the one in use."""
        folders = [self._extra] if self._extra else []
        folders += [starter_dir(), *sorted(models_dir().iterdir())]
        own = [ModelChoice(self.names.of(folder), folder) for folder in folders if _holds_model(folder)]
        used = [self.choice] if self.choice else []
        found: dict[Path, ModelChoice] = {}
        for choice in (*own, *self._trained(), *used):
            found.setdefault(choice.path, choice)
        return list(found.values())

    def select(self, choice: ModelChoice) -> None:
        """Begin to load a model in the background, unless it is the one that is there.

        The model before it is closed: its answers end, and its memory is free for the new one.
        """
        with self._condition:
            is_chosen = self.choice is not None and self.choice.path == choice.path
            if is_chosen and self.state in (ModelState.LOADING, ModelState.READY):
                return
            previous = self._model
            self.choice, self._model, self._error, self._is_unloaded = choice, None, None, False
        if previous is not None:
            previous.close()
        threading.Thread(target=self._load, args=(choice,), name="model loader", daemon=True).start()

    def wake(self) -> bool:
        """Load the chosen model again if it has left memory; whether it had."""
        choice = self.choice
        if choice is None or self.state != ModelState.UNLOADED:
            return False
        self.select(choice)
        return True

    def unload(self) -> bool:
        """Take the loaded model out of memory; it stays the chosen one. Whether there was one."""
        with self._condition:
            model, self._model = self._model, None
            self._is_unloaded = model is not None
        if model is None:
            return False
        model.close()
        del model
        _give_memory_back()
        return True

    def unload_when_idle(self, minutes: float) -> None:
        """From now on take a model out of memory that has not been used for so long; 0 never."""
        with self._condition:
            self._idle_s = minutes * 60
            if self._idle_watch is None and minutes > 0:
                self._idle_watch = threading.Thread(target=self._watch_idle, name="idle model", daemon=True)
                self._idle_watch.start()
            self._condition.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether loading has ended, well or badly, within the time."""
        with self._condition:
            return self._condition.wait_for(lambda: self.state != ModelState.LOADING, timeout_s)

    def model(self) -> "LanguageModel":
        """The loaded model. Raises what its loading raised."""
        with self._condition:
            if self._error is not None:
                raise self._error
            if self._is_unloaded:
                raise ModelError("The model has left memory since nobody asked it.", "Ask again once it is loaded.")
            if self._model is None:
                raise ModelError("No model is loaded.", "Choose one at the top of the page.")
            self._used_at = time.monotonic()
            return self._model

    def version(self) -> Version:
        """Which version of the loaded model answers, ready to. Raises ModelError when it cannot be read."""
        if self.choice is None:
            return Version()
        return self.ready(self.versions.current(self.choice.path))

    def ready(self, version: Version) -> Version:
        """The version, its adapter beside the loaded model. Raises ModelError."""
        model = self.model()
        with self._adding:
            if version.name and version.name not in model.adapters:
                model.load_adapter(version.name, version.folder)
        return version

    def _watch_idle(self) -> None:
        """Sleep until a model may have been idle for long enough, and look then. Woken when the time is changed."""
        while True:
            with self._condition:
                left_s = self._used_at + self._idle_s - time.monotonic()
                if self._model is None or self._idle_s <= 0:
                    self._condition.wait()
                    continue
                if left_s > 0:
                    self._condition.wait(left_s)
                    continue
                if self._model.is_busy:
                    self._used_at = time.monotonic()
                    continue
            logger.info("the model is unloaded after %.0f s without use", self._idle_s)
            self.unload()

    def _load(self, choice: ModelChoice) -> None:
        with self._loading:  # one after the other, so that two models are never in memory
            if self.choice == choice:
                model, error = self._open(choice)
                self._finish(choice, model, error)

    def _open(self, choice: ModelChoice) -> "tuple[LanguageModel | None, AssistantError | None]":
        try:
            _import_engine()
            garbage.pause()
            import core
            from core.inference.choose_runner import kernels_need_compiling

            self._compiling_since = time.monotonic() if kernels_need_compiling() else None
            return core.load(choice.path, num_threads=self.num_threads), None
        except AssistantError as exc:
            return None, exc
        except Exception as exc:
            logger.exception("loading %s", choice.name)
            reason = f"{choice.name} could not be loaded: {type(exc).__name__}."
            return None, ModelError(reason, "The log file tells more.")
        finally:
            garbage.resume()

    def _finish(self, choice: ModelChoice, model: "LanguageModel | None", error: AssistantError | None) -> None:
        with self._condition:
            if self.choice == choice:
                self._model, self._error, self._compiling_since = model, error, None
                self._used_at = time.monotonic()
                self._condition.notify_all()


def _import_engine() -> None:
    """Import what the first model needs, torch above all, without a search for garbage in between."""
    if "core.inference.load" in sys.modules:
        return
    garbage.pause()
    try:
        import core.inference.load  # noqa: F401
    finally:
        garbage.set_aside()


def _give_memory_back() -> None:
    """Let the system have what a model took: glibc keeps freed memory for the next time."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _holds_model(path: Path) -> bool:
    """Whether this is a GGUF file, or a folder that has one, or that has a config and weights, itself or as a run."""
    if path.suffix.lower() == ".gguf" or any(path.glob("*.gguf")):
        return True
    places = (path / "model", path)
    return any((place / "config.json").exists() and any(place.glob("*.safetensors")) for place in places)
