"""Where bytes come from: files, folders, gzip, tar and zip, as bounded streams of bytes or text.

Nothing is ever unpacked to disk: names inside an archive are only names. What a compressed file may
unpack to is bounded, so a bomb ends in a DataError and not in a full memory. `readers` parses the streams.
"""

import codecs
import gzip
import io
import os
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

import charset_normalizer

from core.errors import DataError, Sentence

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
HEAD_BYTES = 1 << 16
# What one compressed file may unpack to in all: this, or this many times its size on disk.
MAX_FREE_UNPACKED_BYTES, MAX_UNPACK_RATIO = 1 << 28, 200
# Text has next to none of these; a file with more than one in twenty is not text.
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r\f\x1b"))

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file to read; `name` is its place below the folder that was given."""

    path: Path
    name: str


def input_files(paths: list[Path], *, outside: Path | None = None) -> list[InputFile]:
    """The files that `paths` name, folders opened, each once and in a fixed order.

    Hidden files in a folder are left out, and all in the folder `outside`: a data set is not its own
    input. Raises DataError for a path that is not there or cannot be listed.
    """
    found: dict[Path, InputFile] = {}
    for path in paths:
        for file in _files_of(path):
            if outside is None or not file.path.resolve().is_relative_to(outside.resolve()):
                found.setdefault(file.path.resolve(), file)
    counts = Counter(file.name for file in found.values())
    return [file if counts[file.name] == 1 else InputFile(file.path, _shown(str(file.path))) for file in found.values()]


def _files_of(path: Path) -> Iterator[InputFile]:
    if path.is_file():
        yield InputFile(path, _shown(path.name))
        return
    if not path.is_dir():
        raise DataError(
            "{path} is neither a file nor a folder." if path.exists() else "{path} does not exist.",
            "Check the path.",
            path=path,
        )
    for folder, folders, names in os.walk(path, onerror=_cannot_be_listed):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if not name.startswith(".") and file.is_file():
                yield InputFile(file, _shown(file.relative_to(path).as_posix()))


def _shown(name: str) -> str:
    """A file's name that can be printed: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def _cannot_be_listed(error: OSError) -> NoReturn:
    raise DataError(
        "The folder {path} cannot be read: {reason}.",
        "Change its permissions, or leave it out.",
        path=error.filename,
        reason=error.strerror,
    ) from error


def members(file: InputFile, advance: Advance) -> Generator[tuple[str, IO[bytes]], None, None]:
    """(name, content) of the file itself, unpacked, or of each file in the archive it is.

    `advance(bytes)` counts what is read from disk. Raises DataError for a bomb, and what the
    libraries raise for broken archives.
    """
    lower = file.name.lower()
    with file.path.open("rb") as disk:
        raw = cast(IO[bytes], _Counted(disk, advance))
        budget = Budget(file.name, file.path.stat().st_size)
        if lower.endswith(".zip"):
            yield from _zip_members(file.name, raw, budget)
        elif lower.endswith(ARCHIVE_SUFFIXES):
            yield from _tar_members(file.name, raw, budget)
        else:
            yield file.name, gunzipped(lower, raw, budget)


def gunzipped(lower: str, raw: IO[bytes], budget: "Budget") -> IO[bytes]:
    """The content of a stream whose name may say gzip."""
    if not lower.endswith((".gz", ".tgz")):
        return raw
    return cast(IO[bytes], _Bounded(cast(IO[bytes], gzip.GzipFile(fileobj=raw)), budget))


class Budget:
    """How much one file on disk may still unpack to, all its members together."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self.limit = max(MAX_FREE_UNPACKED_BYTES, MAX_UNPACK_RATIO * size)
        self.left = self.limit

    def spend(self, count: int) -> None:
        """Raises DataError when the limit is passed."""
        self.left -= count
        if self.left < 0:
            raise DataError(
                "{name} has {size:,} bytes and unpacks to more than {limit:,}: it was refused.",
                "Unpack it yourself if you trust it.",
                name=self.name,
                size=self.size,
                limit=self.limit,
            )


def _zip_members(name: str, raw: IO[bytes], budget: Budget) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(raw) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                member = _LateMember(archive, entry)
                yield f"{name}/{entry.filename}", _inner(entry.filename, cast(IO[bytes], member), budget)


def _tar_members(name: str, raw: IO[bytes], budget: Budget) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=gunzipped(name.lower(), raw, budget), mode="r|", errors="replace") as archive:
        for entry in archive:
            # A link's target may lie behind it in the stream, and a sparse file is a bomb without gzip.
            content = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
            if content is not None:
                yield f"{name}/{entry.name}", _inner(entry.name, content, budget, counted=True)


def _inner(name: str, content: IO[bytes], budget: Budget, *, counted: bool = False) -> IO[bytes]:
    """A member's content; what gunzipping the archive has counted already is not counted again."""
    bounded = content if counted else cast(IO[bytes], _Bounded(content, budget))
    return gunzipped(name.lower(), bounded, budget)


class _LateMember:
    """A member of a zip file that is opened when it is read, so that its fault is its own."""

    def __init__(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
        self._archive, self._entry = archive, entry
        self._stream: IO[bytes] | None = None

    def read(self, size: int = -1) -> bytes:
        if self._stream is None:
            self._stream = self._archive.open(self._entry)
        return self._stream.read(size)


def open_text(stream: IO[bytes]) -> io.TextIOWrapper | Sentence:
    """The stream as text in the encoding that its beginning shows, or why it is no text."""
    buffered = io.BufferedReader(cast(io.RawIOBase, _Raw(stream)), HEAD_BYTES)
    head = buffered.peek(HEAD_BYTES)
    if not head.strip():
        return Sentence("the file is empty")
    encoding = detect_encoding(head)
    if encoding is None:
        return Sentence("a binary file")
    return io.TextIOWrapper(buffered, encoding=encoding, errors="replace", newline=None)


def detect_encoding(head: bytes) -> str | None:
    """The encoding of a file by its beginning (up to HEAD_BYTES), or None when it is binary."""
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return name
    if b"\0" in head:
        return next((name for name in ("utf-16-le", "utf-16-be") if _is_utf16(head, name)), None)
    if len(head.translate(None, _CONTROL_BYTES)) < 0.95 * len(head):
        return None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeDecodeError:
        return _detect_legacy(head)
    return "utf-8"


def _detect_legacy(head: bytes) -> str | None:
    whole_lines = head[: head.rfind(b"\n") + 1] if len(head) == HEAD_BYTES else head
    best = charset_normalizer.from_bytes(whole_lines or head).best()
    if best is None:
        return None
    # The later standards hold all of the earlier ones.
    if best.encoding.startswith("gb") or best.encoding == "hz":
        return "gb18030"
    return "big5hkscs" if best.encoding.startswith("big5") else best.encoding


def _is_utf16(head: bytes, name: str) -> bool:
    """Whether nearly all characters are of scripts in use when read as UTF-16 without a mark."""
    text = head[: len(head) & ~1].decode(name, "replace")
    usual = len(
        re.findall(r"[\t\n\r -~\u00a0-\u052f\u2000-\u206f\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffee]", text)
    )
    has_ascii = re.search(r"[\t\n\r -~]", text) is not None  # where else would a zero byte come from
    return has_ascii and usual > 0.97 * len(text)


class _Counted(io.RawIOBase):
    """Tells how many bytes were read."""

    def __init__(self, raw: IO[bytes], advance: Advance) -> None:
        self._raw, self._advance = raw, advance

    def read(self, size: int = -1) -> bytes:
        content = self._raw.read(size)
        self._advance(len(content))
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()


class _Bounded(io.RawIOBase):
    """A stream whose bytes are taken from a budget."""

    def __init__(self, stream: IO[bytes], budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, size: int = -1) -> bytes:
        most = self._budget.left + 1
        content = self._stream.read(min(size, most) if size >= 0 else most)
        self._budget.spend(len(content))
        return content

    def readable(self) -> bool:
        return True


class _Raw(io.RawIOBase):
    """A raw stream over anything that reads bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readable(self) -> bool:
        return True
