"""The objects behind the page, built once and handed to it."""

from dataclasses import dataclass
from pathlib import Path

from app.answers import DocumentAnswers
from app.assistant import Assistant
from app.library import Library
from app.models import ModelHolder
from app.paths import library_dir, studio_dir
from app.studio import Studio


@dataclass(frozen=True, slots=True)
class Services:
    models: ModelHolder
    library: Library
    documents: DocumentAnswers
    assistant: Assistant
    studio: Studio


def build_services(model: Path | None = None) -> Services:
    """`model` is a folder to open first; without it the first one found."""
    studio, library = Studio(studio_dir()), Library(library_dir())
    models = ModelHolder(model, trained=studio.choices)
    documents = DocumentAnswers(library, models.model)
    assistant = Assistant(models, documents)
    return Services(models=models, library=library, documents=documents, assistant=assistant, studio=studio)
