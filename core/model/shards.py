"""Tensors whose rows lie in several safetensors files, one written by each rank of a training run.

`NAME.shards.json` says where: {"files": {file: sha256}, "tensors": {name: {"dtype", "shape", "parts":
[{"file", "first_row", "num_rows"}]}}}. Rows are those of the first dimension; a reader takes only the
rows it asks for. A plain `NAME.safetensors` reads the same way, as tensors of one part each.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from core.errors import ModelError
from core.model.weight_files import REMEDY, has_shards, read_shard_index


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [first_row, first_row + num_rows) of a tensor, in a file under the tensor's name."""

    file: str
    first_row: int
    num_rows: int


@dataclass(frozen=True, slots=True)
class ShardedTensor:
    """A tensor on the disk. One without dimensions is one part."""

    folder: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    def read(self) -> Tensor:
        """All of it."""
        return self.read_rows(0, self.shape[0]) if self.shape else self._read(self.parts[0], ...)

    def read_rows(self, first: int, last: int) -> Tensor:
        """Rows [first, last), from the files that hold them."""
        pieces = []
        for part in sorted(self.parts, key=lambda part: part.first_row):
            begin = max(first, part.first_row) - part.first_row
            end = min(last, part.first_row + part.num_rows) - part.first_row
            if begin < end:
                pieces.append(self._read(part, slice(begin, end)))
        if not pieces:
            return self._read(self.parts[0], slice(0, 0))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _read(self, part: Part, rows: Any) -> Tensor:
        with safe_open(self.folder / part.file, framework="pt") as file:
            return file.get_slice(self.name)[rows] if self.shape else file.get_tensor(self.name)


def open_shards(folder: Path, name: str) -> dict[str, ShardedTensor]:
    """The tensors called `name` of a folder, unread. Raises ModelError for files that are not whole."""
    if not has_shards(folder, name):
        return _open_file(folder, f"{name}.safetensors")
    opened = {}
    for key, entry in read_shard_index(folder, name)["tensors"].items():
        parts = tuple(Part(**part) for part in entry["parts"])
        rows = sum(part.num_rows for part in parts)
        if entry["shape"] and rows != entry["shape"][0]:
            raise ModelError(
                "{name} in {folder} has {rows} of {count} rows.", REMEDY,
                name=key, folder=folder, rows=rows, count=entry["shape"][0],
            )  # fmt: skip
        opened[key] = ShardedTensor(folder, key, entry["dtype"], tuple(entry["shape"]), parts)
    return opened


def index_of(tensors: dict[str, ShardedTensor], hashes: dict[str, str]) -> dict[str, Any]:
    """The content of `NAME.shards.json`."""
    entries = {
        name: {"dtype": tensor.dtype, "shape": list(tensor.shape), "parts": [asdict(part) for part in tensor.parts]}
        for name, tensor in tensors.items()
    }
    return {"files": hashes, "tensors": entries}


def _open_file(folder: Path, file_name: str) -> dict[str, ShardedTensor]:
    opened = {}
    try:
        with safe_open(folder / file_name, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                view = file.get_slice(name)
                shape = tuple(view.get_shape())
                part = Part(file_name, 0, shape[0] if shape else 1)
                opened[name] = ShardedTensor(folder, name, view.get_dtype(), shape, (part,))
    except (OSError, SafetensorError) as exc:
        raise ModelError(
            "{path} is not a whole safetensors file: {reason}.", REMEDY, path=folder / file_name, reason=exc
        ) from exc
    return opened
