"""Results of the recipe's stages, kept by what they were made from: a second run begins where something changed."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from core.files import write_bytes

KEY_DIGITS = 16


def fingerprint(*parts: object) -> str:
    """Of settings, of modules by their source, and of files by name, size and time of modification."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, ModuleType):
            found.update(Path(str(part.__file__)).read_bytes())
        elif isinstance(part, Path):
            status = part.stat()
            found.update(f"{part.name} {status.st_size} {status.st_mtime_ns}".encode())
        else:
            found.update(repr(part).encode())
        found.update(b"\0")
    return found.hexdigest()[:KEY_DIGITS]


class Cache:
    """One file for each stage and key below a folder."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder, self._say = folder, say

    def bytes(self, stage: str, key: str, make: Callable[[], bytes]) -> bytes:
        """What a stage made of what the key stands for, made now if it is not kept; older results of it go."""
        path = self._folder / f"{stage}-{key}"
        if path.exists():
            self._say(f"{stage}: kept from an earlier run")
            return path.read_bytes()
        made = make()
        _forget(self._folder.glob(f"{stage}-*"))
        write_bytes(path, made)
        self._say(f"{stage}: made")
        return made


def _forget(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()
