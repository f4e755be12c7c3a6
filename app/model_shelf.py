"""The models of this machine, what each is and whether it fits: shown on the models page, renamed, deleted, put back.

The starter ships with the program; the user's models lie in the data folder, where downloads and imports put them; what
runs have made stays with its run. Deleting moves a model into the trash beside them, from where it can be put back
until the trash is emptied.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import psutil

from app.catalogue import BY_NAME
from app.machine_speed import MachineSpeed
from app.model_facts import Facts, facts_of
from app.model_fit import Need, Verdict, need, prompt_tokens_per_s, quantization_on_load, tokens_per_s, verdict
from app.models import ModelHolder, ModelState
from app.paths import models_dir, starter_dir
from core.config.model_config import ModelConfig
from core.errors import AssistantError, ModelError
from core.files import read_json_object, write_json
from core.folders import data_dir
from core.hub.places import DownloadRecord
from core.model.folder import find_model

TRASH, NOTE = "trash", "trashed.json"


class Origin(StrEnum):
    STARTER = "starter"
    DOWNLOADED = "downloaded"
    ADDED = "added"  # by an import, or put into the folder by hand
    RUN = "run"
    GIVEN = "given"  # on the command line


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Memory and speed before loading. The speeds are None while this machine's own are not known."""

    quantization: str
    need: Need
    verdict: Verdict
    tokens_per_s: float | None
    prompt_tokens_per_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShelfModel:
    """One model; without facts it cannot be read, and `problem` says why."""

    path: Path
    name: str
    origin: Origin
    is_loaded: bool
    is_chosen: bool
    facts: Facts | None
    estimate: Estimate | None
    licence: str = ""
    problem: str = ""

    @property
    def can_be_deleted(self) -> bool:
        return self.origin in (Origin.DOWNLOADED, Origin.ADDED)


@dataclass(frozen=True, slots=True)
class Trashed:
    """A model in the trash: its folder there, what it was called, how large it is and when it was deleted."""

    id: str
    name: str
    num_bytes: int
    at: float


class ModelShelf:
    """The door of the page to the models' files. Methods may be called from any thread."""

    def __init__(self, models: ModelHolder) -> None:
        self._models = models

    def all(self, speed: MachineSpeed | None) -> list[ShelfModel]:
        """Every model that the chat can open."""
        return [self._shown(choice.path, choice.name, speed) for choice in self._models.choices()]

    def find(self, path: str) -> Path:
        """The folder or file of a model here. Raises ModelError for a path that is none of theirs."""
        found = next((choice.path for choice in self._models.choices() if str(choice.path) == path), None)
        if found is None:
            raise ModelError("{path} is none of the models here.", "Look at the list again.", path=path[:200])
        return found

    def rename(self, path: str, name: str) -> None:
        """Call a model by another name; its files stay where they are. Raises AssistantError."""
        self._models.names.give(self.find(path), name)

    def delete(self, path: str) -> Trashed:
        """Move one of the user's models into the trash. Raises ModelError for one that is not the user's."""
        found = self.find(path)
        if found.parent != models_dir():
            raise ModelError("{name} is not in the models folder.", "Delete a run in the studio.", name=found.name)
        if self._models.choice is not None and self._models.choice.path == found:
            self._models.unload()
        place = trash_dir() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        place.mkdir(mode=0o700)
        trashed = Trashed(place.name, self._models.names.of(found), size_of(found), time.time())
        write_json(
            place / NOTE, {"path": found.name, "name": trashed.name, "bytes": trashed.num_bytes, "at": trashed.at}
        )
        try:
            found.rename(place / found.name)
        except OSError as exc:
            shutil.rmtree(place, ignore_errors=True)
            raise ModelError(
                "{name} cannot be moved: {reason}.", "Close what uses it.", name=found.name, reason=exc.strerror
            ) from exc
        return trashed

    def trash(self) -> list[Trashed]:
        """What can be put back, the last one first."""
        found = [_trashed(place, note) for place, note in _notes()]
        return sorted(found, key=lambda one: one.at, reverse=True)

    def put_back(self, trash_id: str) -> Path:
        """Put a model back where it was. Raises ModelError when its place is taken or it is not in the trash."""
        place, note = next(((place, note) for place, note in _notes() if place.name == trash_id), (None, {}))
        if place is None:
            raise ModelError("This is not in the trash any more.", "Look at the list again.")
        name = Path(str(note["path"])).name
        target = models_dir() / name
        if target.exists():
            raise ModelError("There is another {name} in the models folder.", "Delete that one first.", name=name)
        (place / name).rename(target)
        shutil.rmtree(place)
        return target

    def empty_trash(self) -> int:
        """Delete what is in the trash for good; the bytes that were freed."""
        freed = sum(one.num_bytes for one in self.trash())
        shutil.rmtree(trash_dir())
        return freed

    def _shown(self, path: Path, name: str, speed: MachineSpeed | None) -> ShelfModel:
        chosen = self._models.choice
        is_chosen = chosen is not None and chosen.path == path
        is_loaded = is_chosen and self._models.state == ModelState.READY
        shown = ShelfModel(
            path=path,
            name=name,
            origin=_origin(path),
            is_loaded=is_loaded,
            is_chosen=is_chosen,
            facts=None,
            estimate=None,
        )
        try:
            facts = facts_of(find_model(path))
        except (AssistantError, OSError) as exc:
            return replace(shown, problem=str(exc))
        guess = estimate(facts.config, facts.quantization, speed, is_running=self._models.state == ModelState.READY)
        return replace(shown, facts=facts, estimate=guess, licence=_licence_of(path, facts))


def estimate(
    config: ModelConfig, stored: str | None, speed: MachineSpeed | None, *, is_running: bool = False
) -> Estimate:
    """Memory and speed of a shape on this machine."""
    quantization = quantization_on_load(config, stored)
    needed = need(config, quantization)
    decode = tokens_per_s(config, quantization, read_gb_per_s=speed.read_gb_per_s) if speed else None
    prompt = prompt_tokens_per_s(config, quantization, fp32_gflop_per_s=speed.fp32_gflop_per_s) if speed else None
    return Estimate(
        quantization=quantization,
        need=needed,
        verdict=verdict(needed, psutil.virtual_memory().available, is_running=is_running),
        tokens_per_s=decode,
        prompt_tokens_per_s=prompt,
    )


def _licence_of(path: Path, facts: Facts) -> str:
    """The licence of a model where it is known: of the catalogue, or what its own files say."""
    record = DownloadRecord.read(path)
    offer = BY_NAME.get(record.name) if record else None
    return offer.licence if offer and offer.licence else facts.licence


def trash_dir() -> Path:
    """Where deleted models lie."""
    folder = data_dir() / TRASH
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files below a folder."""
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file() and not one.is_symlink()]
    return sum(one.stat().st_size for one in files)


def _origin(path: Path) -> Origin:
    if path == starter_dir():
        return Origin.STARTER
    if path.parent == models_dir():
        return Origin.DOWNLOADED if DownloadRecord.read(path) else Origin.ADDED
    return Origin.RUN if data_dir() in path.parents else Origin.GIVEN


def _notes() -> Iterator[tuple[Path, dict[str, object]]]:
    for place in trash_dir().iterdir():
        try:
            note = read_json_object(place / NOTE)
        except AssistantError:
            continue
        if (place / Path(str(note.get("path"))).name).exists():
            yield place, note


def _trashed(place: Path, note: dict[str, object]) -> Trashed:
    size, at = note.get("bytes"), note.get("at")
    return Trashed(
        place.name,
        str(note.get("name")),
        size if isinstance(size, int) else 0,
        at if isinstance(at, float) else place.stat().st_mtime,
    )
