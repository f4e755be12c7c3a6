"""Model files that come in through the browser, until they are checked and moved into the models folder.

A browser tells no paths, so what is dropped is sent: to disk, block by block, below a folder of its own that is emptied
at every start.
"""

import shutil
from pathlib import Path

from app.dropped_files import place_of
from core.errors import DataError

FOLDER = "uploads"
MAX_MODEL_BYTES = 64 * 2**30  # of one file
ENDINGS = (".gguf", ".safetensors", ".json", ".jinja", ".txt", ".md", ".model")
REMEDY = (
    "Give a GGUF file, or a folder with config.json, the tokenizer's files and safetensors; unpack an archive first."
)


class ModelUploads:
    """Where each file of a drop lies. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        shutil.rmtree(self._folder, ignore_errors=True)

    def place(self, batch: str, name: str) -> Path:
        """Where a file is to be written. Raises: DataError for a name that cannot be, or is no part of a model."""
        path = place_of(self._folder, batch, name)
        if not path.name.lower().endswith(ENDINGS):
            raise DataError("{name} is no file of a model.", REMEDY, name=path.name)
        return path

    def source(self, batch: str) -> tuple[str, Path]:
        """The model of a drop, as a path to add it by, and the folder of the drop. Raises: DataError without one."""
        folder = place_of(self._folder, batch, "x").parent
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
        if not inside:
            raise DataError("No file of this drop arrived.", "Drop the files again.")
        first = next((path for path in inside if path.is_dir() or path.suffix.lower() == ".gguf"), folder)
        return str(first), folder
