"""The files that a model's weights lie in, and what tells two models apart: read without torch.

A folder has one safetensors file, several under an index of the hub's (`model.safetensors.index.json`), or one from
each rank of a training run under our own (`NAME.shards.json`, see `shards`).
"""

import hashlib
from pathlib import Path
from typing import Any

from core.data.placeholder import refuse_placeholder
from core.errors import ModelError
from core.files import read_json_object, sha256_file
from core.model.folder import ADAPTER_CONFIG, is_adapter, unfinished_files

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# A checkpoint that several ranks wrote.
SHARDS = "model"
# A training checkpoint of AstrAI's first generations.
ASTRAI_WEIGHTS = "state_dict.safetensors"
INDEX_SUFFIX = ".shards.json"
REMEDY = "Use an earlier checkpoint."


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder. Raises ModelError if one is missing or none is there."""
    if has_shards(folder, SHARDS):
        return shard_files(folder, SHARDS)
    if (folder / INDEX).exists():
        return _files_of_index(folder)
    for name in (WEIGHTS, ASTRAI_WEIGHTS):
        if (folder / name).exists():
            return [folder / name]
    unfinished = unfinished_files(folder)
    if unfinished:
        raise ModelError(
            "{folder} has no {name}, but a download that did not end: {half}.",
            "Start the download again; it goes on where it stopped.",
            folder=folder,
            name=WEIGHTS,
            half=unfinished[0].name,
        )
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            "{folder} has its weights as a pickle ({name}), which can run code.",
            "Use a version of the model in safetensors.",
            folder=folder,
            name=pickles[0],
        )
    raise ModelError("{folder} has no {name}.", "Choose a folder that holds a model.", folder=folder, name=WEIGHTS)


def weights_hash(folder: Path) -> str:
    """SHA-256 of every byte of a model's weights: whether two folders hold the same model.

    That of an adapter is of its own files, whose settings hold the hash of its base.
    """
    digest = hashlib.sha256()
    files = [folder / ADAPTER_CONFIG, folder / ADAPTER_WEIGHTS] if is_adapter(folder) else None
    for path in [folder] if folder.is_file() else files or weight_files(folder):
        digest.update(sha256_file(path).encode())
    return digest.hexdigest()


def _files_of_index(folder: Path) -> list[Path]:
    refuse_placeholder(folder / INDEX)
    index = read_json_object(folder / INDEX, ModelError, "Download the model folder again.")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelError("{path} names no weight files.", "Download the model folder again.", path=folder / INDEX)
    names = sorted({str(name) for name in weight_map.values()})
    outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if outside:
        raise ModelError(
            "{name} points outside its folder or to a file that is not safetensors: {file}.",
            "Do not use this model.",
            name=INDEX,
            file=outside[0],
        )
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        unfinished = len(unfinished_files(folder))
        raise ModelError(
            "{folder} lacks {count} of {total} weight files: {names}. Unfinished: {unfinished}."
            if unfinished
            else "{folder} lacks {count} of {total} weight files: {names}.",
            "Download the missing files.",
            folder=folder,
            count=len(missing),
            total=len(names),
            names=", ".join(missing),
            unfinished=unfinished,
        )
    return [folder / name for name in names]


def has_shards(folder: Path, name: str) -> bool:
    """Whether the tensors called `name` lie in several files here."""
    return (folder / f"{name}{INDEX_SUFFIX}").exists()


def shard_files(folder: Path, name: str) -> list[Path]:
    """The files that hold them. Raises ModelError."""
    return [folder / file for file in sorted(read_shard_index(folder, name)["files"])]


def read_shard_index(folder: Path, name: str) -> dict[str, Any]:
    """What `NAME.shards.json` says. Raises ModelError where a file is missing or outside its folder."""
    index = read_json_object(folder / f"{name}{INDEX_SUFFIX}", ModelError, REMEDY)
    outside = [file for file in index["files"] if Path(file).name != file or not file.endswith(".safetensors")]
    missing = [file for file in index["files"] if file not in outside and not (folder / file).exists()]
    if outside or missing:
        raise ModelError(
            "{path} points outside its folder: {names}." if outside else "{path} lacks {names}.",
            REMEDY,
            path=folder / f"{name}{INDEX_SUFFIX}",
            names=", ".join(outside or missing),
        )
    return index
