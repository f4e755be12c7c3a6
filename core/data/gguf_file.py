"""GGUF files: the header read within bounds, the tensors found and mapped, not read.

The reader of the `gguf` package believes a file's counts (an array that claims 2^60 entries keeps it busy
for ever), so the header is read here: every count is held against the bytes that are there before anything
is made of it. Type numbers and block sizes are the package's. Source: the GGUF specification, versions 2 and 3.
"""

import math
import mmap
import re
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from core.errors import ModelError, Sentence

SUFFIX = ".gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_ENTRIES = 1 << 16  # tensors or metadata
MAX_ARRAY = 1 << 22
MAX_NAME_BYTES = 1024
MAX_DIMENSIONS = 4
MAX_PARTS = 512
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
STRING, ARRAY, BOOL = 8, 9, 7
# Type number of a metadata value -> its struct code, little endian.
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", BOOL: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class GGUFTensor:
    """Where a tensor lies. `shape` is as in torch, the contiguous dimension last."""

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    content: np.ndarray[Any, np.dtype[np.uint8]]  # the mapped bytes, (rows, bytes of a row)


@dataclass(frozen=True, slots=True)
class GGUFFile:
    """What a GGUF model says of itself, over all of its parts."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GGUFTensor]


def is_gguf(path: Path) -> bool:
    """Whether a path is named like a GGUF file."""
    return path.suffix.lower() == SUFFIX


def open_gguf(path: Path) -> GGUFFile:
    """Map a GGUF file, with its other parts if it is split. Raises ModelError for one that cannot be whole."""
    first = _open_part(path)
    count = first.metadata.get("split.count", 1)
    if not isinstance(count, int) or count <= 1:
        return first
    found = PART.search(path.name)
    if found is None or count > MAX_PARTS or int(found[2]) != count:
        raise ModelError(
            "{name} is one of {count} parts, and its name does not say which.", "Give the files back their names.",
            name=path.name, count=count,
        )  # fmt: skip
    stem = path.name[: found.start()]
    places = [path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]
    missing = [place.name for place in places if not place.exists()]
    if missing:
        raise ModelError(
            "{missing} of {count} parts are missing: {name}.", "Download the missing parts.",
            missing=len(missing), count=count, name=missing[0],
        )  # fmt: skip
    parts = [_open_part(place) for place in places]
    tensors = {name: tensor for part in parts for name, tensor in part.tensors.items()}
    return GGUFFile(path, parts[0].metadata, tensors)


def _open_part(path: Path) -> GGUFFile:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError("{name} is no regular file.", "Choose a GGUF file.", name=path.name)
        if status.st_size < len(MAGIC) + 20:
            size = status.st_size
            raise ModelError("{name} is {size} bytes, too short for a GGUF file.", _AGAIN, name=path.name, size=size)
        with path.open("rb") as file:
            # Copy on write, so that torch may take the pages as they are; nothing is ever written back.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as exc:
        raise ModelError("{path} cannot be read: {reason}.", "Choose a GGUF file.", path=path, reason=exc) from exc
    try:
        reader = _Reader(content)
        reader.header()
        metadata = reader.metadata()
        return GGUFFile(path, metadata, reader.tensors(metadata.get("general.alignment", DEFAULT_ALIGNMENT)))
    except _BrokenError as exc:
        raise ModelError(
            "{name} ({size:,} bytes) is not a whole GGUF file: {reason}.", _AGAIN,
            name=path.name, size=len(content), reason=exc.sentence,
        ) from exc  # fmt: skip


_AGAIN = "Download it again."


class _BrokenError(Exception):
    """What is wrong with the bytes."""

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class _Reader:
    """Walks the header from its first byte on."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self._at = content, 0
        self._num_tensors = self._num_metadata = 0

    def header(self) -> None:
        """Magic, version and the two counts."""
        if self._bytes(4) != MAGIC:
            start = bytes(self._content[:16])
            raise _BrokenError(Sentence("it begins with {found}", found=repr(start)))
        version = self._number("I")
        if version not in VERSIONS:
            is_big_endian = version & 0xFFFF == 0
            raise _BrokenError(
                Sentence(
                    "it is big-endian" if is_big_endian else "its version is {version}, not 2 or 3", version=version
                )
            )
        self._num_tensors, self._num_metadata = self._number("Q"), self._number("Q")
        for count, what in ((self._num_tensors, "tensors"), (self._num_metadata, "metadata entries")):
            if count > MAX_ENTRIES:
                raise _BrokenError(
                    Sentence(
                        "it claims {count:,} {what}, at most {most:,} make sense",
                        count=count,
                        what=what,
                        most=MAX_ENTRIES,
                    )
                )

    def metadata(self) -> dict[str, Any]:
        """Every key and value."""
        values: dict[str, Any] = {}
        for _ in range(self._num_metadata):
            key = self._string(MAX_NAME_BYTES)
            if key in values:
                raise _BrokenError(Sentence("{name!r} stands in it twice", name=key))
            values[key] = self._value(self._number("I"))
        return values

    def tensors(self, alignment: object) -> dict[str, GGUFTensor]:
        """The table of tensors, each held against the file's end."""
        if not isinstance(alignment, int) or alignment < 8 or alignment & (alignment - 1):
            raise _BrokenError(
                Sentence("general.alignment is {found}, not a power of two from 8 on", found=repr(alignment))
            )
        table = [self._tensor_info() for _ in range(self._num_tensors)]
        base = -(-self._at // alignment) * alignment
        found: dict[str, GGUFTensor] = {}
        for name, shape, kind, offset in table:
            if name in found or offset % alignment:
                raise _BrokenError(
                    Sentence(
                        "tensor {name!r} at offset {offset:,} stands in it twice or is not aligned",
                        name=name, offset=offset,
                    )
                )  # fmt: skip
            found[name] = self._tensor(name, shape, kind, base + offset)
        return found

    def _tensor_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, num_dimensions = self._string(MAX_NAME_BYTES), self._number("I")
        if not 1 <= num_dimensions <= MAX_DIMENSIONS:
            raise _BrokenError(Sentence("tensor {name!r} has {count} dimensions", name=name, count=num_dimensions))
        shape = tuple(self._number("Q") for _ in range(num_dimensions))
        return name, shape[::-1], self._number("I"), self._number("Q")

    def _tensor(self, name: str, shape: tuple[int, ...], number: int, begin: int) -> GGUFTensor:
        try:
            kind = GGMLQuantizationType(number)
        except ValueError as exc:
            raise _BrokenError(
                Sentence("tensor {name!r} is of the unknown type {found}", name=name, found=number)
            ) from exc
        block, block_bytes = GGML_QUANT_SIZES[kind]
        if shape[-1] % block or min(shape) < 1:
            raise _BrokenError(
                Sentence(
                    "tensor {name!r} has the shape {shape} in blocks of {block}",
                    name=name,
                    shape=list(shape),
                    block=block,
                )
            )
        row_bytes = shape[-1] // block * block_bytes
        size = math.prod(shape[:-1]) * row_bytes
        if begin + size > len(self._content):
            raise _BrokenError(Sentence("tensor {name!r} ends at byte {end:,}", name=name, end=begin + size))
        content = np.frombuffer(self._content, np.uint8, size, begin).reshape(-1, row_bytes)
        return GGUFTensor(shape, kind, content)

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string(len(self._content))
        if kind == ARRAY:
            return self._array()
        return self._scalars(kind, 1)[0]

    def _array(self) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if count > MAX_ARRAY:
            raise _BrokenError(
                Sentence(
                    "it holds a list of {count:,} entries, at most {most:,} make sense", count=count, most=MAX_ARRAY
                )
            )
        if kind != STRING:
            return list(self._scalars(kind, count))
        return [self._string(len(self._content)) for _ in range(count)]

    def _scalars(self, kind: int, count: int) -> tuple[Any, ...]:
        code = SCALARS.get(kind)
        if code is None:
            raise _BrokenError(Sentence("a value is of the unknown type {found}", found=kind))
        layout = struct.Struct(f"<{count}{code}")
        return layout.unpack(self._bytes(layout.size))

    def _string(self, longest: int) -> str:
        size = self._number("Q")
        if size > longest:
            raise _BrokenError(Sentence("it holds a text of {size:,} bytes at byte {at:,}", size=size, at=self._at))
        return self._bytes(size).decode("utf-8", "replace")

    def _number(self, code: str) -> int:
        layout = _NUMBERS[code]
        return int(layout.unpack(self._bytes(layout.size))[0])

    def _bytes(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._content):
            raise _BrokenError(Sentence("{size:,} bytes are wanted at byte {at:,}", size=size, at=self._at))
        content = self._content[self._at : end]
        self._at = end
        return content


_NUMBERS = {code: struct.Struct(f"<{code}") for code in "IQ"}


def number(metadata: Mapping[str, Any], key: str, *, kind: Callable[[Any], Any] = int) -> Any:
    """A metadata number of the wanted kind, None where there is none. Raises ModelError."""
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, list) and value and all(entry == value[0] for entry in value):
        value = value[0]  # one number for every layer
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ModelError(
            "{key} differs between layers." if isinstance(value, list) else "{key} is {value}, not a number.",
            "Use another file of this model.",
            key=key,
            value=repr(value),
        )
    return kind(value)
