"""Where a model lies, and whether what lies there is what it says: no link out, no placeholder, no half download."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.placeholder import refuse_placeholder
from core.errors import ModelError
from core.files import read_json_object
from core.hub.places import find_downloaded

CONFIG = "config.json"
ADAPTER_CONFIG = "adapter_config.json"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
GGUF_SUFFIX = ".gguf"
REWARD_SUFFIX = "ForSequenceClassification"
UNFINISHED = ("*.incomplete", "*.part", "*.crdownload", "*.aria2", ".cache/huggingface/download/**/*.incomplete")


@dataclass(frozen=True, slots=True)
class AdapterBase:
    """The model that an adapter was trained on: where it lay, and the hash of its weights if it is known."""

    path: str
    weights_hash: str | None


def find_model(name: str | Path) -> Path:
    """The model folder or GGUF file behind a path, or a hub name that was downloaded or is in the hub's cache.

    A run folder stands for its result, or until that is there for its newest checkpoint; a folder that holds
    one GGUF model and no other stands for that.
    Raises: ModelError saying how to get a model that is not on this disk.
    """
    path = Path(name) if Path(name).exists() else find_downloaded(name) or Path(name)
    checkpoints = sorted((path / "checkpoints").glob("step-*"), reverse=True)
    if any((path / "model" / name).exists() for name in (CONFIG, ADAPTER_CONFIG)):
        return path / "model"
    if checkpoints:
        return checkpoints[0]
    if path.is_dir():
        return path if (path / CONFIG).exists() or is_adapter(path) else _only_gguf(path) or path
    if path.suffix.lower() == GGUF_SUFFIX and path.exists():
        return path
    if HUB_NAME.fullmatch(str(name)) and not path.exists():
        return _in_hub_cache(str(name))
    raise ModelError(
        "{path} is not a folder.", "Give the path of a folder that holds a model, or of a GGUF file.", path=path
    )


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).exists() and not (folder / CONFIG).exists()


def _only_gguf(folder: Path) -> Path | None:
    """The one GGUF model of a folder; of a split one its first part. Raises ModelError for several."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == GGUF_SUFFIX)
    models = [path for path in files if not re.search(r"-(?!00001)\d{5}-of-\d{5}\.gguf$", path.name)]
    if len(models) > 1:
        names = ", ".join(path.name for path in models[:8])
        raise ModelError(
            "{folder} holds {count} GGUF models: {names}.", "Give the path of one of them.",
            folder=folder, count=len(models), names=names,
        )  # fmt: skip
    return models[0] if models else None


def is_reward_model(path: Path) -> bool:
    """Whether a folder holds a decoder under a scalar head. Raises ModelError for one without a readable config."""
    if not path.is_dir() or is_adapter(path):
        return False
    names = read_json(path / CONFIG).get("architectures")
    return isinstance(names, list) and bool(names) and str(names[0]).endswith(REWARD_SUFFIX)


def _in_hub_cache(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as exc:
        raise ModelError(
            "{name} is not a folder here and not in the hub's cache, and nothing is downloaded by itself.",
            "Get it with `python launch.py download {name}`.",
            name=name,
        ) from exc
    return folder if (folder / CONFIG).exists() else _only_gguf(folder) or folder


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a model folder's JSON files. Raises ModelError."""
    if not os.path.lexists(path):
        half = unfinished_files(path.parent)
        if half:
            raise ModelError(
                "{folder} has no {name}, but a download that did not end: {half}.",
                "Start the download again; it goes on where it stopped.",
                folder=path.parent,
                name=path.name,
                half=half[0].name,
            )
        raise ModelError(
            "{folder} has no {name}.", "Choose a folder that holds a model.", folder=path.parent, name=path.name
        )
    refuse_placeholder(path)
    return read_json_object(path, ModelError, "Download the model folder again.")


def unfinished_files(folder: Path) -> list[Path]:
    """Files that a download left half-way."""
    return sorted(path for pattern in UNFINISHED for path in folder.glob(pattern))


def refuse_links_outside(folder: Path) -> None:
    """Raises ModelError for a link out of the folder; the hub's cache links to its own blobs."""
    if not folder.is_dir():
        return
    real = Path(os.path.realpath(folder))
    allowed = real.parents[1] / "blobs" if real.parent.name == "snapshots" else real
    for path in sorted(folder.iterdir()):
        target = Path(os.path.realpath(path))
        if path.is_symlink() and real not in target.parents and allowed not in target.parents:
            raise ModelError(
                "{name} in {folder} is a link to {target}, outside the folder.",
                "Put the file itself there, if you trust it.",
                name=path.name,
                folder=folder,
                target=target,
            )
