"""The objects behind the page, built once and handed to it."""

from dataclasses import dataclass
from pathlib import Path

from app.ab_test import BlindTest
from app.answers import DocumentAnswers
from app.assistant import Assistant
from app.downloads import Downloads
from app.improvement import Improvement
from app.library import Library
from app.models import ModelHolder
from app.paths import library_dir, preferences_dir, studio_dir
from app.preferences import Preferences
from app.receipt import Receipt
from app.studio import Studio
from core.folders import data_dir


@dataclass(frozen=True, slots=True)
class Services:
    models: ModelHolder
    library: Library
    documents: DocumentAnswers
    assistant: Assistant
    studio: Studio
    preferences: Preferences
    blind_test: BlindTest
    improvement: Improvement
    receipt: Receipt
    downloads: Downloads


def build_services(model: Path | None = None) -> Services:
    """`model` is a folder to open first; without it the first one found."""
    studio, library = Studio(studio_dir()), Library(library_dir())
    models = ModelHolder(model, trained=studio.choices)
    documents = DocumentAnswers(library, models.model)
    preferences, receipt = Preferences(preferences_dir()), Receipt(data_dir())
    return Services(
        models=models,
        library=library,
        documents=documents,
        assistant=Assistant(models, documents),
        studio=studio,
        preferences=preferences,
        blind_test=BlindTest(models, preferences, studio),
        improvement=Improvement(models, preferences, studio),
        receipt=receipt,
        downloads=Downloads(data_dir(), receipt),
    )
