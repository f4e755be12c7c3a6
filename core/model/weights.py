"""The weights of a model folder: found and held against the config before one of them is read.

Only safetensors are opened; a pickle is refused. Weights are mapped, so reading costs what is touched.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.data.placeholder import refuse_placeholder
from core.errors import ModelError
from core.files import write_atomic, write_json
from core.model.shards import open_shards
from core.model.weight_files import INDEX, SHARDS, WEIGHTS, has_shards, weight_files

# Written by older transformers beside the weights; recomputed from the config here.
DERIVED_SUFFIX = "rotary_emb.inv_freq"
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor on the disk: what it is, and how to get it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder's safetensors by name. Raises ModelError for files that are not whole."""
    if has_shards(folder, SHARDS):
        shards = open_shards(folder, SHARDS).items()
        return {name: StoredTensor(shard.shape, DTYPES[shard.dtype], shard.read) for name, shard in shards}
    found: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        found |= tensors_of_file(path)
    return found


def tensors_of_file(path: Path) -> dict[str, StoredTensor]:
    """Every tensor of one safetensors file by name. Raises ModelError for a file that is not whole."""
    refuse_placeholder(path)
    found: dict[str, StoredTensor] = {}
    try:
        file: Any = safe_open(path, framework="pt")
        for name in file.keys():  # noqa: SIM118 - not a mapping
            if not name.endswith(DERIVED_SUFFIX):
                part = file.get_slice(name)
                dtype = DTYPES.get(part.get_dtype(), torch.uint8)
                found[name] = StoredTensor(tuple(part.get_shape()), dtype, partial(file.get_tensor, name))
    except (OSError, SafetensorError) as exc:
        size = path.stat().st_size if path.is_file() else 0
        raise ModelError(
            "{path} ({size:,} bytes) is not a whole safetensors file: {reason}.", "Download or copy it again.",
            path=path, size=size, reason=exc,
        ) from exc  # fmt: skip
    return found


def check_fit(name: str, expected: Mapping[str, Tensor], stored: Mapping[str, StoredTensor]) -> None:
    """Hold the stored tensors against the empty model's. Raises ModelError naming those that do not fit."""
    problems = [f"{key} is missing" for key in expected if key not in stored]
    problems += [f"{key} is unknown" for key in stored if key not in expected]
    problems += [
        f"{key} is {list(stored[key].shape)}, config.json says {list(tensor.shape)}"
        for key, tensor in expected.items()
        if key in stored and stored[key].shape != tuple(tensor.shape)
    ]
    problems += [
        f"{key} holds {stored[key].dtype}, config.json asks for {tensor.dtype}"
        for key, tensor in expected.items()
        if key in stored and not _is_like(stored[key].dtype, tensor.dtype)
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ModelError(
            "The weights of {name} do not fit its config.json: {problems}.",
            "Download the model folder again.",
            name=name,
            problems="; ".join(problems[:4]) + more,
        )


def _is_like(stored: torch.dtype, wanted: torch.dtype) -> bool:
    """Floats of one kind become others; whole numbers are read as they are."""
    return stored == wanted or (stored.is_floating_point and wanted.is_floating_point)


def write_tensors(tensors: Mapping[str, Tensor], folder: Path, max_shard_bytes: int) -> None:
    """Write safetensors, in shards with an index where they are larger. Raises: OSError, SafetensorError."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.nbytes > max_shard_bytes:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    if len(shards) == 1:
        _write_file(shards[0], folder / WEIGHTS)
        (folder / INDEX).unlink(missing_ok=True)
        return
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _write_file(shard, folder / name)
    weight_map = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for tensor in tensors.values())
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    (folder / WEIGHTS).unlink(missing_ok=True)


def _write_file(tensors: dict[str, Tensor], path: Path) -> None:
    write_atomic(path, lambda temporary: save_file(tensors, temporary, metadata={"format": "pt"}))
