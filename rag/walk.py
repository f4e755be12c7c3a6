"""Which files of a folder belong into the library."""

import os
from collections.abc import Iterator
from pathlib import Path

SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv"}
SKIPPED_PREFIXES = (".", "~$")  # hidden files, and the marks that Office leaves beside an open one


def walk(folder: Path) -> Iterator[Path]:
    """The plain files below a folder, sorted within each. Links are not followed; what cannot be listed is left out."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(SKIPPED_PREFIXES):
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in SKIPPED_FOLDERS:
                yield from walk(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def absolute(path: str | Path) -> Path:
    """A path as it is kept: absolute, without `~` and `..`."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
