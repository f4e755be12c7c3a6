"""What models are called on the page: the name that the user gave, else the hub's, else the folder's."""

import threading
from pathlib import Path

from core.errors import AssistantError, ConfigError
from core.files import read_json_object, write_json
from core.hub.places import DownloadRecord

FILE = "model-names.json"
MAX_CHARS = 80


class ModelNames:
    """The names that the user gave, by the model's path. A file is renamed nowhere: links to it stay right."""

    def __init__(self, folder: Path) -> None:
        self._path, self._lock = folder / FILE, threading.Lock()
        self._given = self._read()

    def of(self, path: Path) -> str:
        """The name of a model."""
        if given := self._given.get(str(path)):
            return given
        record = DownloadRecord.read(path)
        return record.name if record else path.name

    def give(self, path: Path, name: str) -> None:
        """Call a model by a name; an empty one gives it its own back. Raises ConfigError for one that is too long."""
        words = " ".join(name.split())
        if len(words) > MAX_CHARS or not words.isprintable():
            raise ConfigError(
                "A name has at most {most} characters, this one {count}.", "Shorten it.",
                most=MAX_CHARS, count=len(words),
            )  # fmt: skip
        with self._lock:
            others = {key: value for key, value in self._given.items() if key != str(path)}
            self._given = others | ({str(path): words} if words else {})
            write_json(self._path, self._given)

    def _read(self) -> dict[str, str]:
        try:
            values = read_json_object(self._path) if self._path.exists() else {}
        except AssistantError:  # the models have names without it
            return {}
        return {key: value for key, value in values.items() if isinstance(value, str)}
