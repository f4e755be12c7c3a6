"""The objects behind the page, built once and handed to it."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from app.ab_test import BlindTest
from app.adding import Adding
from app.answers import DocumentAnswers
from app.archive import complete_restore
from app.assistant import Assistant
from app.attachments import Attachments
from app.backing_up import Backup
from app.conversations import Conversations
from app.downloads import Downloads
from app.embedder_downloads import EmbedderDownloads
from app.improvement import Improvement
from app.leftovers import sweep
from app.library import Library
from app.machine_speed import SpeedMeter
from app.model_board import ModelBoard
from app.model_shelf import ModelShelf
from app.models import ModelHolder
from app.paths import attachments_dir, conversations_dir, library_dir, personas_file, preferences_dir, studio_dir
from app.personas import Personas
from app.preferences import Preferences
from app.receipt import Receipt
from app.settings import Settings, Values
from app.studio import Studio
from core.folders import data_dir


@dataclass(frozen=True, slots=True)
class Services:
    models: ModelHolder
    library: Library
    documents: DocumentAnswers
    assistant: Assistant
    studio: Studio
    conversations: Conversations
    attachments: Attachments
    personas: Personas
    preferences: Preferences
    blind_test: BlindTest
    improvement: Improvement
    receipt: Receipt
    downloads: Downloads
    embedders: EmbedderDownloads
    settings: Settings
    board: ModelBoard
    backup: Backup


def build_services(model: Path | None = None) -> Services:
    """`model` is a folder to open first; without it the first one found. What was staged is restored before."""
    complete_restore()
    threading.Thread(target=sweep, args=(data_dir(),), name="sweep", daemon=True).start()
    studio, library = Studio(studio_dir()), Library(library_dir())
    models, settings = ModelHolder(model, trained=studio.choices), Settings(data_dir())

    def apply(values: Values) -> None:
        models.unload_when_idle(values.idle_minutes)
        # A backup may come from a machine with more of them.
        models.num_threads = min(values.num_threads, os.cpu_count() or 1)

    apply(settings.values)
    settings.listen(apply)
    documents = DocumentAnswers(library, models.model)
    preferences, receipt = Preferences(preferences_dir()), Receipt(data_dir())
    downloads = Downloads(data_dir(), receipt)
    return Services(
        models=models,
        library=library,
        documents=documents,
        assistant=Assistant(models, documents),
        studio=studio,
        conversations=Conversations(conversations_dir()),
        attachments=Attachments(attachments_dir(), lambda: library.embedder),
        personas=Personas(personas_file()),
        preferences=preferences,
        blind_test=BlindTest(models, preferences, studio),
        improvement=Improvement(models, preferences, studio),
        receipt=receipt,
        downloads=downloads,
        embedders=EmbedderDownloads(library, downloads),
        settings=settings,
        board=ModelBoard(models, ModelShelf(models), downloads, Adding(), SpeedMeter(), studio),
        backup=Backup(data_dir()),
    )
