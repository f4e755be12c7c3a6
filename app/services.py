"""The objects behind the page, built once and handed to it."""

from dataclasses import dataclass
from pathlib import Path

from app.answers import DocumentAnswers
from app.assistant import Assistant
from app.library import Library
from app.models import ModelHolder
from app.paths import library_dir


@dataclass(frozen=True, slots=True)
class Services:
    models: ModelHolder
    library: Library
    documents: DocumentAnswers
    assistant: Assistant


def build_services(model: Path | None = None) -> Services:
    """`model` is a folder to open first; without it the first one found."""
    models, library = ModelHolder(model), Library(library_dir())
    documents = DocumentAnswers(library, models.model)
    return Services(models=models, library=library, documents=documents, assistant=Assistant(models, documents))
