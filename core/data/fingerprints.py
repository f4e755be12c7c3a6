"""What the first pass of `prepare` remembers of each document, so that memory stays flat.

Signatures, 512 bytes each, go to a file without a name that is mapped for reading: the system can take
that memory back. The rest is 36 bytes per document.
"""

import tempfile
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.data.dedup import NUM_PERMUTATIONS, content_hash, signature
from core.data.formats import Example, Preference
from core.data.tokenise import Place


class Fingerprints:
    """One entry per document, in the order of the input."""

    def __init__(self, folder: Path) -> None:
        """The file lies in `folder`, which has room for the data set. Raises OSError."""
        self._signatures = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._hashes, self._groups, self._sizes = array("Q"), array("Q"), array("q")
        self._files, self._rows = array("i"), array("q")
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signatures.close()

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, place: Place, digest: int, group: int, signed: bytes, num_bytes: int) -> None:
        """`group` is what must stay on one side of a split, `num_bytes` the length of the text in UTF-8."""
        file, row = place
        if file not in self._numbers:
            self._numbers[file] = len(self._names)
            self._names.append(file)
        self._hashes.append(digest)
        self._groups.append(group)
        self._sizes.append(num_bytes)
        self._files.append(self._numbers[file])
        self._rows.append(row)
        self._signatures.write(signed)

    def place(self, document: int) -> Place:
        return self._names[self._files[document]], self._rows[document]

    @property
    def hashes(self) -> NDArray[np.uint64]:
        """(N,)"""
        return np.frombuffer(self._hashes, dtype=np.uint64)

    @property
    def groups(self) -> NDArray[np.uint64]:
        """Documents of one number belong together: pairs of one prompt. (N,)"""
        return np.frombuffer(self._groups, dtype=np.uint64)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """UTF-8 bytes, (N,)"""
        return np.frombuffer(self._sizes, dtype=np.int64)

    @property
    def signatures(self) -> NDArray[np.uint32]:
        """(N, NUM_PERMUTATIONS), a view of the file."""
        self._signatures.flush()
        return np.memmap(self._signatures, dtype=np.uint32, mode="r", shape=(len(self), NUM_PERMUTATIONS))


def fingerprints(batch: Iterable[tuple[Place, Example]]) -> list[tuple[Place, int, int, bytes, int]]:
    """The arguments of `Fingerprints.add` for each document; runs in a worker process."""
    rows = []
    for place, example in batch:
        key = example.key()
        digest = content_hash(key)
        group = content_hash(example.prompt()) if isinstance(example, Preference) else digest
        rows.append((place, digest, group, signature(key).tobytes(), len(key.encode("utf-8", "replace"))))
    return rows
