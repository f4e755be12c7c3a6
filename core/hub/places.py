"""Where downloaded models lie, what is recorded beside them, and how they are found again.

A model OWNER/NAME is the folder `OWNER--NAME` of the user's models folder; the hub allows no `--` in a name, so no
two models share one. A GGUF file OWNER/NAME:FILE.gguf has a folder of its own, with the file's name after it. What
is on its way is in a hidden folder beside it (`staging`), in a shape that nobody takes for a model.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from core.errors import AssistantError, ConfigError
from core.files import read_json_object, sha256_file
from core.folders import data_dir

RECORD = "download.json"
KEPT = "Start again; it goes on where it stopped."
MODEL, EMBEDDER = "model", "embedder"  # what is downloaded
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_NAME = re.compile(rf"({_PART})/({_PART})(?::({_PART}\.gguf))?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,99}")


@dataclass(frozen=True, slots=True)
class HubName:
    """OWNER/NAME, or OWNER/NAME:FILE.gguf for one file of it."""

    owner: str
    name: str
    file: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ConfigError for what no model on the hub can be called."""
        found = _NAME.fullmatch(text)
        if not found or "--" in text or ".." in text:
            raise ConfigError(
                "{name!r} is not the name of a model on the hub.",
                "Write it as OWNER/NAME, or OWNER/NAME:FILE.gguf for one GGUF file.",
                name=text[:200],
            )
        return cls(*found.groups())

    @property
    def repo_id(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def folder_name(self) -> str:
        stem = f"--{self.file.removesuffix('.gguf')}" if self.file else ""
        return f"{self.owner}--{self.name}{stem}"

    def __str__(self) -> str:
        return f"{self.repo_id}:{self.file}" if self.file else self.repo_id


def check_revision(revision: str) -> None:
    """Raises ConfigError unless it can be a branch, a tag or a commit."""
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ConfigError(
            "{name!r} cannot be a revision.",
            "Give a branch, a tag or a commit of 40 hexadecimal digits.",
            name=revision[:200],
        )


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and hash of one file as it was when it was whole."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """What lies in a downloaded folder. `revision` is what was asked for, None the default; `commit` what it was."""

    name: str
    revision: str | None
    commit: str
    files: Mapping[str, FileRecord]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record of a folder, or None where there is none that can be read."""
        try:
            values = read_json_object(folder / RECORD)
            files = {str(name): FileRecord(**entry) for name, entry in values.pop("files").items()}
            return cls(**values, files=files)
        except (AssistantError, KeyError, TypeError, AttributeError):
            return None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the file RECORD."""
        return asdict(self)

    def is_of(self, name: HubName, revision: str | None) -> bool:
        """Whether this is the model that is asked for; no revision is content with any."""
        return self.name == str(name) and revision in (None, self.revision, self.commit)

    def damaged(self, folder: Path) -> list[str]:
        """The files that are missing or not what they were."""
        return [name for name, file in self.files.items() if not _is_intact(folder / name, file)]


def _is_intact(path: Path, file: FileRecord) -> bool:
    try:
        return path.stat().st_size == file.bytes and sha256_file(path) == file.sha256
    except OSError:
        return False


def models_folder() -> Path:
    """The user's models, one folder each. It need not exist yet. Raises OSError without a data folder."""
    return data_dir() / "models"


def embedders_folder() -> Path:
    """The embedders that were downloaded, one folder each. It need not exist yet. Raises OSError as above."""
    return data_dir() / "embedders"


def staging(folder: Path) -> Path:
    """Where a download into `folder` is kept until it is whole: on the same disk, so that a rename ends it."""
    return folder.with_name(f".{folder.name}.partial")


def find_downloaded(name: str | Path, kind: str = MODEL) -> Path | None:
    """The folder, or the GGUF file, of what was downloaded under this name; None if there is none."""
    try:
        wanted = HubName.parse(str(name))
    except ConfigError:
        return None
    try:
        folder = (embedders_folder() if kind == EMBEDDER else models_folder()) / wanted.folder_name
    except OSError:
        return None
    path = folder / wanted.file if wanted.file else folder
    return path if path.exists() and DownloadRecord.read(folder) else None
