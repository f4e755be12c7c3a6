"""Model folders in the Hugging Face layout: `config.json` and safetensors, whole or in shards.

Weights are mapped, not read: a model opens in the time its pages are touched. Only safetensors are
opened; a pickle is refused.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from core.config.model_config import ModelConfig
from core.config.param_config import SamplingConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.files import read_json_object, write_atomic, write_json
from core.hub.places import find_downloaded
from core.model.quantize import Scheme, prepare_for_quantized_
from core.model.transformer import Transformer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
GENERATION = "generation_config.json"
SAMPLING_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
# Written by older transformers beside the weights; recomputed from the config here.
DERIVED_SUFFIX = "rotary_emb.inv_freq"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def find_model(name: str | Path) -> Path:
    """The model folder behind a path, or a hub name that was downloaded here or is in the hub's own cache.

    A run folder stands for its result, or until that is there for its newest checkpoint.
    Raises: ModelError saying how to get a model that is not on this disk.
    """
    path = Path(name) if Path(name).exists() else find_downloaded(name) or Path(name)
    checkpoints = sorted((path / "checkpoints").glob("step-*"), reverse=True)
    if (path / "model" / CONFIG).exists():
        return path / "model"
    if checkpoints:
        return checkpoints[0]
    if path.is_dir():
        return path
    if path.suffix == ".gguf":
        raise ModelError(f"{path.name} is a GGUF file, which cannot be read yet.", "Use the safetensors folder.")
    if HUB_NAME.fullmatch(str(name)):
        return _in_hub_cache(str(name))
    raise ModelError(f"{path} is not a folder.", "Give the path of a folder that holds a model.")


def _in_hub_cache(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as exc:
        raise ModelError(
            f"{name} is not a folder here and not in the hub's cache, and nothing is downloaded by itself.",
            f"Get it with `python launch.py download {name}`.",
        ) from exc


def load_config(folder: Path) -> ModelConfig:
    """The shape of the model in a folder. Raises ModelError."""
    return ModelConfig.from_hf(read_json(folder / CONFIG))


def load_sampling(folder: Path) -> SamplingConfig:
    """The sampling that a model asks for in its `generation_config.json`; ours where it asks for nothing.

    As in transformers, temperature and filters count only where `do_sample` is set. Raises ModelError.
    """
    values = read_json(folder / GENERATION) if (folder / GENERATION).exists() else {}
    names = SAMPLING_FIELDS if values.get("do_sample") else ("repetition_penalty",)
    try:
        return SamplingConfig.from_dict({name: values[name] for name in names if values.get(name) is not None})
    except ConfigError as exc:
        raise ModelError(f"{GENERATION} of {folder.name}: {exc.message}", f"Mend it or delete {GENERATION}.") from exc


def quantization_scheme(folder: Path) -> Scheme | None:
    """How a folder's weights are quantised if they are, as ours, else None. Raises ModelError for another way."""
    settings = read_json(folder / CONFIG).get("quantization_config")
    if settings is None:
        return None
    return Scheme.from_config(settings if isinstance(settings, dict) else {})


def load_model(folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Transformer:
    """Open a model folder. Float weights become `dtype`; None keeps what is stored.

    Raises ModelError naming every missing, unknown or wrongly shaped tensor.
    """
    with torch.device("meta"):
        model = Transformer(load_config(folder))
        scheme = quantization_scheme(folder)
        if scheme is not None:
            prepare_for_quantized_(model, scheme)
    expected = _stored_tensors(model.config, model.state_dict())
    weights = _stored_tensors(model.config, dict(_read_tensors(folder)))
    _check(folder, expected, weights)
    converted = {
        name: tensor.to(device, dtype if tensor.is_floating_point() else None) for name, tensor in weights.items()
    }
    model.load_state_dict(converted, strict=False, assign=True)
    if model.config.tie_word_embeddings:
        model.tie_head()
    return model.eval()


def save_model(
    model: Transformer,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    extra: dict[str, Any] | None = None,
    max_shard_bytes: int = 4 * 2**30,
) -> None:
    """Write a model folder that transformers loads too. `extra` is added to `config.json`.

    `config.json` is written last: a folder that has one is whole.
    Raises: ModelError when it cannot be written, a full disk for instance.
    """
    stored = _stored_tensors(model.config, model.state_dict())
    tensors = {name: tensor.detach().contiguous() for name, tensor in stored.items()}
    dtype = str(model.model.norm.weight.dtype).removeprefix("torch.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_tensors(tensors, folder, max_shard_bytes)
        if tokenizer is not None:
            tokenizer.save(folder)
        write_json(folder / CONFIG, {**model.config.to_hf(), "dtype": dtype, **(extra or {})})
    except (OSError, SafetensorError) as exc:
        needed_mb, free_mb = sum(tensor.nbytes for tensor in tensors.values()) / 1e6, free_bytes(folder) / 1e6
        raise ModelError(
            f"{folder} could not be written: {exc} ({needed_mb:.1f} MB needed, {free_mb:.1f} MB free).",
            "Free some space, or choose a folder that you may write to.",
        ) from exc


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a model folder's JSON files. Raises ModelError."""
    if not os.path.lexists(path):
        raise ModelError(f"{path.parent} has no {path.name}.", "Choose a folder that holds a model.")
    return read_json_object(path, ModelError, "Download the model folder again.")


def free_bytes(folder: Path) -> int:
    """Free space on the disk that holds a folder, which need not exist yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder. Raises ModelError if one is missing or none is there."""
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ModelError(f"{folder / INDEX} names no weight files.", "Download the model folder again.")
        names = sorted({str(name) for name in weight_map.values()})
        outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
        if outside:
            raise ModelError(
                f"{INDEX} points outside its folder or to a file that is not safetensors: {outside[0]}.",
                "Do not use this model.",
            )
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise ModelError(
                f"{folder} lacks {len(missing)} of {len(names)} weight files: {', '.join(missing)}.",
                "Download the missing files.",
            )
        return [folder / name for name in names]
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        raise ModelError(
            f"{folder} has its weights as a pickle ({pickles[0]}), which can run code.",
            "Use a version of the model in safetensors.",
        )
    raise ModelError(f"{folder} has no {WEIGHTS}.", "Choose a folder that holds a model.")


def _stored_tensors(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those that a model folder holds: a tied head is the embedding, and is left out."""
    if not config.tie_word_embeddings:
        return tensors
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("lm_head.")}


def _read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for path in weight_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a mapping
                    if not name.endswith(DERIVED_SUFFIX):
                        yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as exc:
            raise ModelError(
                f"{path} ({path.stat().st_size:,} bytes) is not a whole safetensors file: {exc}.",
                "Download it again.",
            ) from exc


def _check(folder: Path, expected: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    problems = [f"{name} is missing" for name in expected if name not in weights]
    problems += [f"{name} is unknown" for name in weights if name not in expected]
    problems += [
        f"{name} is {list(weights[name].shape)}, config.json says {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    problems += [
        f"{name} holds {weights[name].dtype}, config.json asks for {tensor.dtype}"
        for name, tensor in expected.items()
        if name in weights and weights[name].is_floating_point() != tensor.is_floating_point()
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ModelError(
            f"The weights of {folder.name} do not fit its config.json: {'; '.join(problems[:4])}{more}.",
            "Download the model folder again.",
        )


def _write_tensors(tensors: dict[str, Tensor], folder: Path, max_shard_bytes: int) -> None:
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
