"""The models that can be chosen, and the one that is loaded.

Loading imports torch, which takes seconds; it happens in a thread, so the page is there meanwhile.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from app.paths import models_dir, preferences_dir, starter_dir
from app.versions import Version, Versions
from core.errors import AssistantError, ModelError

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel

logger = logging.getLogger(__name__)


class ModelState(Enum):
    EMPTY = "empty"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


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
        self.versions = Versions(preferences_dir())
        self._condition = threading.Condition()
        self._loading, self._adding = threading.Lock(), threading.Lock()
        self.choice: ModelChoice | None = None
        self._model: LanguageModel | None = None
        self._error: AssistantError | None = None
        self._compiling_since: float | None = None

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
        return ModelState.LOADING if self._model is None else ModelState.READY

    def choices(self) -> list[ModelChoice]:
        """Every model: the given one, the starter, the user's and what has to do with runs; and the one in use."""
        folders = [self._extra] if self._extra else []
        folders += [starter_dir(), *sorted(models_dir().iterdir())]
        own = [ModelChoice(folder.name, folder) for folder in folders if _holds_model(folder)]
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
            if self.choice == choice and self.state in (ModelState.LOADING, ModelState.READY):
                return
            previous = self._model
            self.choice, self._model, self._error = choice, None, None
        if previous is not None:
            previous.close()
        threading.Thread(target=self._load, args=(choice,), name="model loader", daemon=True).start()

    def wait(self, timeout_s: float) -> bool:
        """Whether loading has ended, well or badly, within the time."""
        with self._condition:
            return self._condition.wait_for(lambda: self.state != ModelState.LOADING, timeout_s)

    def model(self) -> "LanguageModel":
        """The loaded model. Raises what its loading raised."""
        with self._condition:
            if self._error is not None:
                raise self._error
            if self._model is None:
                raise ModelError("No model is loaded.", "Choose one at the top of the page.")
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

    def _load(self, choice: ModelChoice) -> None:
        with self._loading:  # one after the other, so that two models are never in memory
            if self.choice == choice:
                model, error = self._open(choice)
                self._finish(choice, model, error)

    def _open(self, choice: ModelChoice) -> "tuple[LanguageModel | None, AssistantError | None]":
        try:
            import core
            from core.inference.choose_runner import kernels_need_compiling

            self._compiling_since = time.monotonic() if kernels_need_compiling() else None
            return core.load(choice.path), None
        except AssistantError as exc:
            return None, exc
        except Exception as exc:
            logger.exception("loading %s", choice.name)
            reason = f"{choice.name} could not be loaded: {type(exc).__name__}."
            return None, ModelError(reason, "The log file tells more.")

    def _finish(self, choice: ModelChoice, model: "LanguageModel | None", error: AssistantError | None) -> None:
        with self._condition:
            if self.choice == choice:
                self._model, self._error, self._compiling_since = model, error, None
                self._condition.notify_all()


def _holds_model(path: Path) -> bool:
    """Whether this is a GGUF file, or a folder that has one, or that has a config and weights, itself or as a run."""
    if path.suffix.lower() == ".gguf" or any(path.glob("*.gguf")):
        return True
    places = (path / "model", path)
    return any((place / "config.json").exists() and any(place.glob("*.safetensors")) for place in places)
