"""One zip with the user's data: conversations, ratings, library and settings; out, and back in whole or not at all.

A restoring unpacks into a folder of its own, checks everything there, and then writes a journal: from that moment the
new state is the one that counts. Moving it into its place can be begun again as often as it is interrupted, and is
finished before anything opens the data. Models and runs are not in the zip.

The zip is a stranger's until it is checked: names, sizes and hashes against its own list, databases against the tables
that this program makes.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import sqlite3
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from app.archive_database import check_database, move_documents
from app.conversation_schema import CONVERSATIONS
from app.dropped_files import place_of
from app.preferences import PREFERENCES
from app.settings import Settings
from core.database import Schema, copy_database
from core.errors import AssistantError, BusyError, DataError, SetupError
from core.files import read_json_object, sha256_file, sync, write_atomic, write_json
from core.folders import data_dir

FORMAT, VERSION = "astrai-archive", 1
MANIFEST, JOURNAL, REPLACED = "manifest.json", "restoring.json", "replaced"
STAGING = ".restoring-"
COPIES = "library/files"
CONFIGS = ("settings.json", "personas.json")
MAX_FILES, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES = 100_000, 8 * 2**20, 64 * 2**20
MAX_ARCHIVE_BYTES = 64 * 2**30  # that comes in through the page
MAX_RATIO, SMALL_BYTES = 200, 2**20  # more than any text or database shrinks by, beyond a small size
BLOCK_BYTES = 1 << 20
REMEDY = "Give a file that `backup` wrote."

Tell = Callable[[int, int], None]


def databases() -> dict[str, Schema]:
    """The databases by their place in the data folder."""
    from rag.schema import LIBRARY

    return {
        "conversations/conversations.db": CONVERSATIONS,
        "preferences/preferences.db": PREFERENCES,
        "library/library.db": LIBRARY,
    }


def back_up(target: Path, tell: Tell = lambda done, total: None) -> int:
    """Write the zip, each database as of one moment, for its owner alone; the number of files in it.

    `tell` hears how many bytes of how many were read. Raises: SetupError if it cannot be written or something cannot
    be read.
    """
    folder, count = data_dir(), 0

    def write(temporary: Path) -> None:
        nonlocal count
        copy = folder / f"{STAGING}{secrets.token_hex(4)}.db"
        listed: dict[str, dict[str, Any]] = {}
        present = list(_present(folder))
        done, total = 0, sum(path.stat().st_size for _, path in present)
        try:
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as zipped:
                for name, path in present:
                    source = path
                    if name in databases():
                        copy_database(path, copy)
                        source = copy
                    info = zipfile.ZipInfo.from_file(source, name)
                    info.compress_type, digest = zipfile.ZIP_DEFLATED, hashlib.sha256()
                    with source.open("rb") as file, zipped.open(info, "w") as packed:
                        while block := file.read(BLOCK_BYTES):
                            packed.write(block)
                            digest.update(block)
                            done += len(block)
                            tell(done, total)
                    listed[name] = {"sha256": digest.hexdigest(), "size_bytes": info.file_size}
                head = {"format": FORMAT, "version": VERSION, "library": str(folder / COPIES), "files": listed}
                zipped.writestr(MANIFEST, json.dumps(head, ensure_ascii=False, indent=1))
        finally:
            copy.unlink(missing_ok=True)
        count = len(listed)

    try:
        write_atomic(target, write, is_private=True)
    except (OSError, sqlite3.Error, zipfile.BadZipFile) as exc:
        raise SetupError(
            "The {what} {path} cannot be read or written: {reason}.",
            "Check the disk's free space and the permissions.",
            what="archive",
            path=target,
            reason=exc,
        ) from exc
    return count


def restore(source: Path) -> list[str]:
    """Put the data of a zip in the place of those here; which parts. Raises as `stage_restore` and `complete_restore`.

    AstrAI must not be running on these data.
    """
    parts = stage_restore(source)
    try:
        complete_restore()
    except BusyError:
        forget_staged()
        raise
    return parts


def stage_restore(source: Path | IO[bytes], *, called: str = "") -> list[str]:
    """Check a zip and let the next start, or `complete_restore`, put its data in place; which parts it has.

    An error calls it `called`, where that is given. Raises: DataError for a zip that is not what `back_up` writes,
    SetupError without room. Nothing is changed then.
    """
    folder, shown = data_dir(), called or str(source)
    place = folder / f"{STAGING}{secrets.token_hex(4)}"
    try:
        try:
            with zipfile.ZipFile(source) as zipped:
                parts = _unpack(shown, zipped, place)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, KeyError, TypeError) as exc:
            raise _refusal(shown, str(exc)) from exc
        forget_staged()
        write_json(folder / JOURNAL, {"place": place.name, "parts": parts})
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return parts


def staged_parts() -> list[str]:
    """What is restored at the next start; nothing where none is staged."""
    journal = data_dir() / JOURNAL
    return [str(part) for part in read_json_object(journal)["parts"]] if journal.exists() else []


def forget_staged() -> None:
    """Restore nothing at the next start."""
    folder = data_dir()
    if (folder / JOURNAL).exists():
        _forget(folder, read_json_object(folder / JOURNAL))


def complete_restore() -> None:
    """Move staged data into their place, if there are some. Call it before anything opens the data.

    Raises: BusyError if a program has them open.
    """
    folder = data_dir()
    if not (folder / JOURNAL).exists():
        for left in folder.glob(f"{STAGING}*"):  # of a program that ended before its journal
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        return
    journal = read_json_object(folder / JOURNAL)
    place, parts = folder / str(journal["place"]), [str(part) for part in journal["parts"]]
    with ExitStack() as locks:
        for name in databases():
            _hold(locks, (folder / name).with_suffix(".lock"))
        for part in parts:
            _swap(folder, place, part)
        (folder / JOURNAL).unlink()
        sync(folder)
    shutil.rmtree(folder / REPLACED, ignore_errors=True)
    if (place / "old").is_dir():
        os.replace(place / "old", folder / REPLACED)
    shutil.rmtree(place)


def _hold(locks: ExitStack, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        locks.enter_context(FileLock(path, timeout=0))
    except Timeout as exc:
        raise BusyError(
            "AstrAI is running on these data.", "End it, and start it again: what was staged is restored then."
        ) from exc


def _swap(folder: Path, place: Path, part: str) -> None:
    """Put one part in place, and what it replaces aside; a database's log goes with it."""
    new, here, old = place / "new" / part, folder / part, place / "old" / part
    if not new.exists():
        return  # it is in its place already
    for path in (new, here, old):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for ending in ("", "-wal", "-shm"):
        if (rest := here.with_name(here.name + ending)).exists():
            os.replace(rest, old.with_name(old.name + ending))
    os.replace(new, here)
    sync(here.parent)


def _forget(folder: Path, journal: dict[str, Any]) -> None:
    """Give up what was staged."""
    (folder / JOURNAL).unlink()
    sync(folder)
    shutil.rmtree(folder / str(journal["place"]), ignore_errors=True)


def _present(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name in the zip and path of everything that is backed up."""
    for name in (*databases(), *CONFIGS):
        if (folder / name).is_file():
            yield name, folder / name
    for path in sorted((folder / COPIES).rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(folder).as_posix(), path


def _unpack(source: str, zipped: zipfile.ZipFile, place: Path) -> list[str]:
    listed, library = _manifest(source, zipped)
    needed = sum(info.file_size for info in zipped.infolist())
    if 1.2 * needed > (free := shutil.disk_usage(place.parent).free):
        raise SetupError(
            "Restoring needs {needed:,} bytes and {free:,} are free.",
            "Free some space and try again.",
            needed=needed,
            free=free,
        )
    for info in zipped.infolist():
        if info.filename != MANIFEST:
            _unpack_file(source, zipped, info, _place_for(source, place / "new", info.filename))
    for name, facts in listed.items():
        path = place / "new" / name
        if sha256_file(path) != facts["sha256"]:
            raise _refusal(source, f"{name} is not what its list says")
        _check(source, place / "new", name)
    if "library/library.db" in listed:
        move_documents(place / "new/library/library.db", library, str(data_dir() / COPIES))
    copies = [COPIES] if (place / "new" / COPIES).is_dir() else []
    return [name for name in (*databases(), *CONFIGS) if name in listed] + copies


def _manifest(source: str, zipped: zipfile.ZipFile) -> tuple[dict[str, dict[str, Any]], str]:
    """The list of files, which must be those that are in the zip, each once; and where the library's copies lay."""
    infos = zipped.infolist()
    names = [info.filename for info in infos]
    if len(names) > MAX_FILES or len(set(names)) < len(names) or names.count(MANIFEST) != 1:
        raise _refusal(source, "its list of files is missing, or names one twice")
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.flag_bits & 1 or kind not in (0, stat.S_IFREG):
            raise _refusal(source, f"{info.filename[:80]!r} is encrypted, or no regular file")
        if info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * info.compress_size:
            raise _refusal(source, f"{info.filename[:80]!r} would grow to {info.file_size:,} bytes")
    if zipped.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
        raise _refusal(source, "its list of files is too long")
    head = json.loads(zipped.read(MANIFEST))
    if head["format"] != FORMAT or head["version"] != VERSION:
        raise _refusal(source, f"its format is {str(head['format'])[:40]!r} {str(head['version'])[:20]}")
    listed = head["files"]
    if not listed or set(listed) | {MANIFEST} != set(names):
        raise _refusal(source, "its list names other files than it has")
    return listed, str(head["library"])


def _place_for(source: str, folder: Path, name: str) -> Path:
    """Where a file of the zip goes. Raises: DataError for a name that is none of ours."""
    if name in databases() or name in CONFIGS:
        return folder / name
    found = re.fullmatch(rf"{COPIES}/([a-z0-9]+)/(.+)", name, re.DOTALL)
    if found is None:
        raise _refusal(source, f"{name[:80]!r} does not belong in it")
    return place_of(folder / COPIES, found[1], found[2])


def _unpack_file(source: str, zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    written = 0
    with zipped.open(info) as packed, path.open("xb") as file:
        while block := packed.read(BLOCK_BYTES):
            written += len(block)
            if written > info.file_size:
                raise _refusal(source, f"{info.filename[:80]!r} is longer than it says")
            file.write(block)
    path.chmod(0o600)
    sync(path)


def _check(source: str, folder: Path, name: str) -> None:
    if name in CONFIGS:
        if (folder / name).stat().st_size > MAX_CONFIG_BYTES:
            raise _refusal(source, f"{name} is too long")
        read_json_object(folder / name, DataError, REMEDY)
        if name == "settings.json":
            Settings(folder)
    elif schema := databases().get(name):
        try:
            check_database(folder / name, schema)
        except (sqlite3.Error, ValueError) as exc:
            raise _refusal(source, f"{name}: {exc}") from exc


def _refusal(source: str, reason: str) -> AssistantError:
    return DataError("{path} is no archive of AstrAI: {reason}.", REMEDY, path=source, reason=reason)
