"""What the models page and the first page ask for: the shelf, downloads, additions and this machine's speed in one."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from app.adding import Adding
from app.catalogue import BY_NAME, FIRST, Offer
from app.downloads import Download, Downloads, DownloadState, hub_host
from app.machine_speed import MachineSpeed, SpeedMeter, known_speed
from app.model_shelf import ModelShelf
from app.model_uploads import ModelUploads
from app.models import ModelChoice, ModelHolder, ModelState
from app.studio import COPIES, Studio
from core.errors import AssistantError, ModelError
from core.hub.places import DownloadRecord

if TYPE_CHECKING:
    from studio import Job

MAX_COPIES = 6  # that are shown


@dataclass(frozen=True, slots=True)
class ModelBoard:
    """The door of the page to everything about models. Methods may be called from any thread."""

    models: ModelHolder
    shelf: ModelShelf
    downloads: Downloads
    adding: Adding
    meter: SpeedMeter
    studio: Studio
    uploads: ModelUploads
    started_at: float = field(default_factory=time.time)

    @property
    def host(self) -> str:
        """Where downloads come from."""
        return hub_host()

    @property
    def speed(self) -> MachineSpeed | None:
        return known_speed()

    @property
    def is_busy(self) -> bool:
        """Whether what is shown will change by itself."""
        is_fetching = any(download.is_active for download in self.downloads.all())
        is_loading = self.models.state == ModelState.LOADING
        is_writing = any(not job.state.is_ended for job in self.copies())
        return is_fetching or is_loading or is_writing or self.adding.is_active or self.meter.is_measuring

    def copies(self) -> "list[Job]":
        """Jobs that write a copy of a model, and those that have ended since the program was started; newest first."""
        kinds = {kind for kind, *_ in COPIES.values()}
        found = [job for job in self.studio.store.jobs() if job.spec.kind in kinds]
        return [job for job in found if not job.state.is_ended or (job.ended or 0.0) >= self.started_at][:MAX_COPIES]

    def memory(self) -> dict[str, int]:
        """Bytes that the program takes, that are free and that there are."""
        machine = psutil.virtual_memory()
        return {"own": psutil.Process().memory_info().rss, "free": machine.available, "total": machine.total}

    def loaded_name(self) -> str:
        """The model in memory; empty where there is none."""
        choice = self.models.choice
        return choice.name if choice is not None and self.models.state == ModelState.READY else ""

    def here(self) -> set[str]:
        """The hub's names of the models on this disk."""
        records = [DownloadRecord.read(choice.path) for choice in self.models.choices()]
        return {record.name for record in records if record is not None}

    def first_offers(self) -> list[Offer]:
        """What a newcomer is offered."""
        return [BY_NAME[name] for name in FIRST]

    def choice(self, path: str | Path) -> ModelChoice:
        """A model here by its path. Raises ModelError where there is none."""
        found = next((choice for choice in self.models.choices() if str(choice.path) == str(path)), None)
        if found is None:
            raise ModelError("{path} is none of the models here.", "Look at the list again.", path=str(path)[:200])
        return found

    def load(self, path: str) -> ModelChoice:
        """Begin to load a model. Raises ModelError."""
        choice = self.choice(path)
        self.models.select(choice)
        return choice

    def add_upload(self, batch: str) -> None:
        """Begin to check and take over what was dropped. Raises: DataError, BusyError."""
        source, folder = self.uploads.source(batch)
        self.adding.begin(source, upload=folder)

    def download(self, name: str) -> Download:
        """Begin a download; one of the catalogue at its pinned revision. Raises ConfigError."""
        offer = BY_NAME.get(name.strip())
        return self.downloads.start(name.strip(), revision=offer.revision if offer else None)

    def write_copy(self, act: str, path: str, language: str) -> "Job":
        """Start what a button of COPIES says. Raises AssistantError."""
        choice = self.choice(path)
        assert act in COPIES
        return self.studio.write_copy(act, path, choice.name, language)

    def take_over_finished(self, name: str) -> ModelChoice | None:
        """Choose a model that was fetched for the first page once it is here."""
        download = self.downloads.find(name)
        if download is None or download.state != DownloadState.DONE:
            return None
        try:
            return self.load(str(download.folder))
        except AssistantError:
            return None
