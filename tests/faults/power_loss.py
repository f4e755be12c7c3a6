"""What a disk may hold after the power went: a save's system calls replayed, with what was not flushed lost or late.

The model is that of ALICE (Pillai et al., OSDI 2014, https://www.usenix.org/conference/osdi14): a write to a file is on
the disk once that file was flushed, a name once its folder was. Of what was not, any of a file's writes may be there,
also in part and without earlier ones; names of one folder come in their order, as file systems with a journal keep it.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.system_calls import CALLS, Ended, Ground

TRACED = ("openat", *CALLS)
SECTOR_BYTES = 512
HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
ARGUMENT = re.compile(r"\"([^\"]*)\"|(\d+|AT_FDCWD)<([^>]*)>(?:\(deleted\))?|([^,\s][^,]*)")
KINDS = ("nothing", "names", "contents", "some")


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes at a place of a file."""

    inode: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Size:
    """A file cut or grown."""

    inode: int
    length: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names of a folder that change together: each means a file from now on, or nothing."""

    inode: int
    names: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """A file or a folder flushed."""

    inode: int


@dataclass(frozen=True, slots=True)
class Said:
    """Something acknowledged."""

    line: str


Change = Data | Size | Names | Sync | Said


@dataclass(slots=True)
class Disk:
    """Files and folders by number; number 0 is the folder in which it all happens."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)
    private: set[int] = field(default_factory=set)

    def find(self, parts: Sequence[str]) -> int | None:
        """The number of a path."""
        found: int | None = 0
        for part in parts:
            found = self.folders.get(found, {}).get(part) if found is not None else None
        return found

    def apply(self, change: Change) -> None:
        match change:
            case Names(inode, names):
                for name, target in names:
                    if target is None:
                        self.folders[inode].pop(name, None)
                    else:
                        self.folders[inode][name] = target
            case Size(inode, length):
                content = self.files[inode]
                del content[length:]
                content.extend(bytes(length - len(content)))
            case Data(inode, offset, content):
                held = self.files[inode]
                held.extend(bytes(max(0, offset - len(held))))
                held[offset : offset + len(content)] = content

    def write(self, place: Path, inode: int = 0) -> None:
        """Make it real."""
        place.mkdir(exist_ok=True)
        for name, target in self.folders[inode].items():
            if target in self.folders:
                self.write(place / name, target)
            else:
                (place / name).write_bytes(self.files[target])
                (place / name).chmod(0o600 if target in self.private else 0o644)

    def digest(self, inode: int = 0) -> bytes:
        """Equal where the content is."""
        made = hashlib.sha256()
        for name, target in sorted(self.folders[inode].items()):
            content = self.digest(target) if target in self.folders else hashlib.sha256(self.files[target]).digest()
            made.update(f"{name}\0".encode() + content)
        return made.digest()


class Recording:
    """The changes that a program made to the watched part of its folder, from the trace of its run."""

    def __init__(self, ended: Ended, watched: str) -> None:
        self._place, self._watched = ended.place, watched
        self._disk = Disk()
        self._places: dict[str, int] = {}  # of what is open, where the next write goes
        self._num_inodes = 0
        self.changes: list[Change] = []
        for line in Path(f"{ended.place}.trace").read_text(encoding="ascii").splitlines():
            call, _, rest = line.partition("(")
            arguments, _, result = rest.rpartition(") = ")
            if result and not result.startswith("-1"):
                self._note(call, [_plain(found) for found in ARGUMENT.finditer(arguments)], line)

    def states(self, draw: random.Random, count: int) -> Iterator[tuple[Disk, list[list[str]]]]:
        """Different states of the disk, each with what had been said, at moments spread over the whole run."""
        seen: set[bytes] = set()
        for attempt in range(20 * count):
            moment = draw.randrange(1, len(self.changes) + 1)
            disk = self._left(moment, KINDS[attempt % len(KINDS)], draw)
            said = [change.line.split() for change in self.changes[:moment] if isinstance(change, Said)]
            key = disk.digest() + repr(said).encode()
            if key not in seen:
                seen.add(key)
                yield disk, said
            if len(seen) == count:
                return

    def _left(self, moment: int, kind: str, draw: random.Random) -> Disk:
        """What is left when the power goes then, with this of what was not flushed."""
        disk = Disk(
            {inode: {} for inode in self._disk.folders},
            {inode: bytearray() for inode in self._disk.files},
            self._disk.private,
        )
        happened = self.changes[:moment]
        flushed = {change.inode: i for i, change in enumerate(happened) if isinstance(change, Sync)}
        stopped: set[int] = set()  # folders of whose names no later ones came
        for i, change in enumerate(happened):
            if isinstance(change, Sync | Said):
                continue
            if i < flushed.get(change.inode, -1):
                disk.apply(change)
            elif isinstance(change, Names):
                if kind == "some" and draw.random() < 1 / 4:
                    stopped.add(change.inode)
                if kind == "names" or (kind == "some" and change.inode not in stopped):
                    disk.apply(change)
            elif kind == "contents" or (kind == "some" and draw.random() < 1 / 2):
                disk.apply(_torn(change, draw) if kind == "some" else change)
        return disk

    def _note(self, call: str, arguments: list[str], line: str) -> None:
        """Add what a call changed."""
        if call == "write" and arguments[0] == f"{self._place}.said":
            self.changes += [Said(said) for said in _content(line).decode().splitlines()]
        elif call == "openat":
            self._open(_joined(*arguments[:2]), arguments[2], is_private=arguments[-1] == "0600")
        elif call in {"write", "writev", "pwrite64"}:
            self._write(arguments[0], _content(line), int(arguments[-1]) if call == "pwrite64" else None)
        elif call in {"unlinkat", "renameat", "renameat2"}:
            paths = [_joined(*pair) for pair in zip(arguments[:4:2], arguments[1:4:2], strict=False)]
            self._rename(*paths) if call != "unlinkat" else self._name(paths[0], None)
        elif call == "rename":
            self._rename(*arguments)
        elif self._is_inside(arguments[0]):
            self._change(call, arguments)

    def _change(self, call: str, arguments: list[str]) -> None:
        """Add a change of one file or folder."""
        match call:
            case "mkdir":
                self._name(arguments[0], self._new(self._disk.folders, {}))
            case "unlink" | "rmdir":
                self._name(arguments[0], None)
            case "ftruncate":
                self._add(Size(self._inode(arguments[0]), int(arguments[1])))
            case "fsync" | "fdatasync":
                self._add(Sync(self._inode(arguments[0])))

    def _open(self, path: str, flags: str, *, is_private: bool) -> None:
        if not self._is_inside(path):
            return
        if "O_CREAT" in flags and self._find(path) is None:
            self._name(path, self._new(self._disk.files, bytearray()))
            if is_private:
                self._disk.private.add(self._num_inodes)
        inode = self._inode(path)
        if "O_TRUNC" in flags and self._disk.files[inode]:
            self._add(Size(inode, 0))
        self._places[path] = len(self._disk.files[inode]) if "O_APPEND" in flags else 0

    def _write(self, path: str, content: bytes, offset: int | None) -> None:
        if not self._is_inside(path):
            return
        if offset is None:
            offset = self._places[path]
            self._places[path] += len(content)
        self._add(Data(self._inode(path), offset, content))

    def _rename(self, old: str, new: str) -> None:
        if self._is_inside(old):
            self._name(new, self._inode(old), gone=old)

    def _name(self, path: str, inode: int | None, *, gone: str | None = None) -> None:
        """Let a name mean this, and another of its folder nothing."""
        if self._is_inside(path):
            folder, _, name = path.rpartition("/")
            assert gone is None or gone.rpartition("/")[0] == folder, "across folders"
            names = ((name, inode), *([(gone.rpartition("/")[2], None)] if gone else []))
            self._add(Names(self._inode(folder), names))

    def _add(self, change: Change) -> None:
        self._disk.apply(change)
        self.changes.append(change)

    def _new(self, kind: dict[int, Any], content: Any) -> int:
        self._num_inodes += 1
        kind[self._num_inodes] = content
        return self._num_inodes

    def _inode(self, path: str) -> int:
        found = self._find(path)
        assert found is not None, path
        return found

    def _find(self, path: str) -> int | None:
        return self._disk.find([part for part in path.removeprefix(str(self._place)).split("/") if part])

    def _is_inside(self, path: str) -> bool:
        """Whether it is the folder, or what is watched in it; memory that programs share is on no disk."""
        is_watched = f"{path}/".startswith(f"{self._place}/{self._watched}/")
        return path == str(self._place) or (is_watched and not path.endswith("-shm"))


def record(ground: Ground, name: str) -> tuple[Ended, Recording]:
    """Run a program undisturbed, and note what it changed."""
    ended = ground.run(name, is_verbatim=True)
    assert ended.status == 0, ended.sentence
    return ended, Recording(ended, ground.watched)


def _joined(folder: str, name: str) -> str:
    return name if name.startswith("/") else f"{folder}/{name}"


def _torn(change: Data | Size, draw: random.Random) -> Data | Size:
    """A write of which not all came."""
    if isinstance(change, Size) or draw.random() < 3 / 4:
        return change
    num_sectors = draw.randrange(1 + len(change.content) // SECTOR_BYTES)
    return Data(change.inode, change.offset, change.content[: SECTOR_BYTES * num_sectors])


def _plain(found: re.Match[str]) -> str:
    """An argument: a string, the path of a descriptor, or a number or flag as it stands."""
    text, _, path, other = found.groups()
    chosen = next(part for part in (text, path, other) if part is not None)
    return HEX.sub(lambda run: bytes.fromhex(run[0].replace("\\x", "")).decode(errors="replace"), chosen)


def _content(line: str) -> bytes:
    """What a call wrote."""
    return b"".join(bytes.fromhex(part.replace("\\x", "")) for part in re.findall(r"\"([^\"]*)\"", line))
