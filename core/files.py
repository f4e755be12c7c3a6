"""Writing files so that a crash leaves the old one or the new one, never half of one; reading JSON in bounds."""

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import AssistantError, ConfigError, SetupError

MAX_READ_BYTES = 64 * 2**20
# What a write is refused with where there is no room: of the disk, of the user, of one file.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomic(path: Path, write: Callable[[Path], None], *, is_private: bool = False) -> None:
    """Let `write` fill a temporary sibling, flush it to disk and rename it to `path`.

    A private file can be read by its owner alone, from its first byte on.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if is_private else 0o666))
    try:
        write(temporary)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)


def write_json(path: Path, value: Any, *, is_private: bool = False) -> None:
    """Write a JSON file atomically, readable for people."""
    write_bytes(path, (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode(), is_private=is_private)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """For what a user changes by hand: SetupError where the disk does not take it, and not OSError."""
    try:
        yield
    except OSError as exc:
        raise SetupError(
            "{path} cannot be written: {reason}.",
            "Check the disk's free space and the permissions.",
            path=path,
            reason=exc.strerror or exc,
        ) from exc


def write_bytes(path: Path, content: bytes, *, is_private: bool = False) -> None:
    """Write a file atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write, is_private=is_private)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most MAX_READ_BYTES; a device or a pipe may have no end. Raises: OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path.name} is no regular file")
    if status.st_size > MAX_READ_BYTES:
        raise OSError(f"{path.name} is {status.st_size:,} bytes, at most {MAX_READ_BYTES:,} make sense")
    return path.read_bytes()


def read_json_object(
    path: Path, error: type[AssistantError] = ConfigError, remedy: str = "Check the file's path and syntax."
) -> dict[str, Any]:
    """The object in a JSON file. Raises `error` with `remedy`, naming the file."""
    try:
        value = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError) as exc:
        raise error("{path} is not readable JSON: {reason}.", remedy, path=path, reason=exc) from exc
    if not isinstance(value, dict):
        raise error("{path} holds {found}, not an object.", remedy, path=path, found=type(value).__name__)
    return value


def make_folder(path: Path, *, is_private: bool = False) -> None:
    """Make a folder, and those above it that are missing, so that a power loss takes no name of them.

    A private folder can be entered by its owner alone.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=0o700 if is_private else 0o777, parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync(folder.parent)


def sync(path: Path) -> None:
    """Flush a file, or where the system can the entries of a folder, to disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: Path) -> str:
    """The hash of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
