"""Copies of files that were dropped onto the page, for a browser tells no paths."""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import IO

from core.errors import DataError
from core.files import make_folder, sync

MAX_COPIED_BYTES = 512 * 2**20
BATCH = re.compile(r"[a-z0-9]{8,40}")
BLOCK_BYTES = 1 << 20


def place_of(folder: Path, batch: str, name: str) -> Path:
    """Where a file of a drop is kept below `folder`; `name` is its path within what was dropped.

    Raises: DataError for a name that cannot be or would lead elsewhere.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_safe = parts and all(part not in ("..", "/") and part.isprintable() and ":" not in part for part in parts)
    if not BATCH.fullmatch(batch) or not is_safe or any(len(part.encode()) > 255 for part in parts):
        raise DataError("{name!r} is no name for a file.", "Rename it and drop it again.", name=name[:80])
    return folder / batch / Path(*parts)


def copy_dropped(content: IO[bytes], path: Path) -> str:
    """Write what is read, and give its SHA-256. Raises: DataError beyond MAX_COPIED_BYTES."""
    make_folder(path.parent, is_private=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        while block := content.read(BLOCK_BYTES):
            size += len(block)
            digest.update(block)
            if size > MAX_COPIED_BYTES:
                break
            file.write(block)
    if size > MAX_COPIED_BYTES:
        path.unlink()
        raise DataError(
            "{name} has over {most:,} bytes.", "Give its folder by its path.", name=path.name, most=MAX_COPIED_BYTES
        )
    sync(path)
    sync(path.parent)
    return digest.hexdigest()
