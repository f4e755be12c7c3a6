"""Sharded checkpoints: every rank writes the rows it keeps, any number of ranks reads them again.

Tensors lie in safetensors, one file for each rank, under a JSON index (core/model/shards.py); no pickle.
torch.distributed.checkpoint has a safetensors writer too, but no hashes, and it finds global shapes by
opening every file. A model folder in shards opens as any other, so to consolidate is to load and to save.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from core.errors import ModelError
from core.files import read_json_object, sha256_file, sync, write_json
from core.model.shards import Part, ShardedTensor, index_of
from core.model.weight_files import INDEX_SUFFIX
from core.model.weights import DTYPES
from core.parallel.setup import Ranks
from core.parallel.wrap import is_dtensor

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def row_range(num_rows: int, ranks: Ranks) -> tuple[int, int]:
    """First and last row, exclusive, that FSDP2 gives to a rank: equal chunks, the last ones shorter or empty."""
    chunk = -(-num_rows // ranks.world_size)
    return min(ranks.rank * chunk, num_rows), min((ranks.rank + 1) * chunk, num_rows)


def write_part(tensors: Mapping[str, Tensor], folder: Path, name: str, ranks: Ranks) -> None:
    """Write this rank's rows, and what all ranks hold on rank 0, with a note for `write_index`. Raises: OSError."""
    file = _part_name(name, ranks.rank)
    local: dict[str, Tensor] = {}
    table: dict[str, ShardedTensor] = {}
    for key, tensor in tensors.items():
        if is_dtensor(tensor):
            first, last = row_range(tensor.shape[0], ranks)
            rows = tensor.to_local()  # type: ignore[attr-defined]
            assert rows.shape[0] == last - first, f"{key}: {rows.shape[0]} rows, not {first} to {last}"
        elif ranks.is_first:
            first, rows = 0, tensor
        else:
            continue
        if rows.dim() and not rows.shape[0]:
            continue
        local[key] = rows.detach().contiguous()
        part = Part(file, first, rows.shape[0] if rows.dim() else 1)
        table[key] = ShardedTensor(folder, key, DTYPE_NAMES[tensor.dtype], tuple(tensor.shape), (part,))
    save_file(local, folder / file, metadata={"format": "pt"})
    sync(folder / file)
    write_json(folder / f"{file}.json", index_of(table, {file: sha256_file(folder / file)}))


def write_index(folder: Path, name: str, num_ranks: int) -> None:
    """Join the notes of all ranks to one index. Raises: ModelError when a rank's note is not here."""
    hashes: dict[str, str] = {}
    tensors: dict[str, ShardedTensor] = {}
    notes = [folder / f"{_part_name(name, rank)}.json" for rank in range(num_ranks)]
    for note in notes:
        values = read_json_object(note, ModelError, "The run folder must be the same for all machines.")
        hashes.update(values["files"])
        for key, entry in values["tensors"].items():
            before = tensors[key].parts if key in tensors else ()
            parts = (*before, *(Part(**part) for part in entry["parts"]))
            tensors[key] = ShardedTensor(folder, key, entry["dtype"], tuple(entry["shape"]), parts)
    write_json(folder / f"{name}{INDEX_SUFFIX}", index_of(tensors, hashes))
    for note in notes:
        note.unlink()


def read_like(parameter: Tensor, stored: ShardedTensor, ranks: Ranks) -> Tensor:
    """The stored tensor on the parameter's device: all of it, or as rows over the ranks as the parameter is."""
    if not is_dtensor(parameter):
        return stored.read().to(parameter.device)
    from torch.distributed.tensor import DTensor

    local = stored.read_rows(*row_range(stored.shape[0], ranks)).to(parameter.device)
    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    stride = parameter.stride()
    return DTensor.from_local(local, mesh, placements, run_check=False, shape=parameter.shape, stride=stride)


def _part_name(name: str, rank: int) -> str:
    return f"{name}-rank-{rank:05d}.safetensors"
