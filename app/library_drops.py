"""Files that were dropped onto the library: copied as they come, until all of one drop are there."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from app.dropped_files import copy_dropped, place_of


@dataclass(slots=True)
class _Drop:
    """Files that arrive together, and the hashes of those that need not."""

    known: set[str]
    paths: list[Path] = field(default_factory=list)


class Drops:
    """The copies below a folder, by drop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drops: dict[str, _Drop] = {}

    def receive(self, batch: str, name: str, content: IO[bytes], known: Callable[[], set[str]]) -> bool:
        """Keep a copy of one file of a drop until `finish`; False if its bytes came already or are `known` by hash.

        `name` is its path within what was dropped. Raises: DataError for a name or size that cannot be.
        """
        path = place_of(self._folder, batch, name)
        drop = self._drops.get(batch) or self._drops.setdefault(batch, _Drop(known()))
        digest = copy_dropped(content, path)
        if digest in drop.known:
            path.unlink()
            return False
        drop.known.add(digest)
        drop.paths.append(path)
        return True

    def finish(self, batch: str) -> list[Path]:
        """The files of a drop that are to be read. Of a dropped folder, those of an unknown kind are deleted."""
        from rag.parsing import is_supported

        root = self._folder / batch
        drop = self._drops.pop(batch, None)
        if drop is None:
            return []
        wanted = [path for path in drop.paths if path.parent == root or is_supported(path)]
        for path in set(drop.paths) - set(wanted):
            path.unlink(missing_ok=True)
        if not wanted:
            shutil.rmtree(root, ignore_errors=True)
        return wanted
