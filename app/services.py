"""The objects behind the page, built once and handed to it."""

from dataclasses import dataclass
from pathlib import Path

from app.assistant import Assistant
from app.models import ModelHolder


@dataclass(frozen=True, slots=True)
class Services:
    models: ModelHolder
    assistant: Assistant


def build_services(model: Path | None = None) -> Services:
    """`model` is a folder to open first; without it the first one found."""
    models = ModelHolder(model)
    return Services(models=models, assistant=Assistant(models))
