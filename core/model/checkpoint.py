"""Model folders in the Hugging Face layout, AstrAI's own folders and GGUF files: opened as one kind of model.

Written is always the Hugging Face layout: `config.json` and safetensors, whole or in shards.
"""

import shutil
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from core.config.model_config import ModelConfig
from core.config.param_config import SamplingConfig
from core.data.gguf_file import is_gguf, open_gguf
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.files import make_folder, sync, write_json
from core.model.astrai import astrai_config, astrai_weights, is_astrai
from core.model.folder import CONFIG, find_model, is_reward_model, read_json, refuse_links_outside
from core.model.gguf_read import gguf_config, gguf_sampling, gguf_weights
from core.model.quantize import QuantizedEmbedding, QuantizedLinear, Scheme, prepare_for_quantized_
from core.model.transformer import Backbone, Transformer
from core.model.weights import StoredTensor, check_fit, stored_tensors, write_tensors

__all__ = [
    "CONFIG",
    "GENERATION",
    "find_model",
    "free_bytes",
    "load_config",
    "load_model",
    "load_sampling",
    "open_model",
    "open_weights",
    "quantization_scheme",
    "read_json",
    "save_description",
    "save_model",
    "weights_of",
]

Value = TypeVar("Value", Tensor, StoredTensor)

GENERATION = "generation_config.json"
SAMPLING_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def load_config(path: Path) -> ModelConfig:
    """The shape of the model in a folder or GGUF file. Raises ModelError."""
    if is_gguf(path):
        return gguf_config(open_gguf(path))
    refuse_links_outside(path)
    if is_reward_model(path):
        raise ModelError(
            "{path} is a reward model: it scores answers and writes none.",
            "Take the model that it was trained from, or give this one where a reward model is asked for.",
            path=path,
        )
    values = read_json(path / CONFIG)
    return astrai_config(values, stored_tensors(path)) if is_astrai(values) else ModelConfig.from_hf(values)


def load_sampling(path: Path) -> SamplingConfig:
    """The sampling that a model asks for in its `generation_config.json`; ours where it asks for nothing.

    As in transformers, temperature and filters count only where `do_sample` is set. Raises ModelError.
    """
    if is_gguf(path):
        return gguf_sampling(open_gguf(path))
    values = read_json(path / GENERATION) if (path / GENERATION).exists() else {}
    names = SAMPLING_FIELDS if values.get("do_sample") else ("repetition_penalty",)
    try:
        return SamplingConfig.from_dict({name: values[name] for name in names if values.get(name) is not None})
    except ConfigError as exc:
        raise ModelError(
            "{file} of {name}: {reason}.", "Mend it or delete {file}.",
            file=GENERATION, name=path.name, reason=exc.sentence,
        ) from exc  # fmt: skip


def quantization_scheme(path: Path) -> Scheme | None:
    """How a folder's weights are quantised if they are, as ours, else None. Raises ModelError for another way."""
    settings = None if is_gguf(path) else read_json(path / CONFIG).get("quantization_config")
    if settings is None:
        return None
    return Scheme.from_config(settings if isinstance(settings, dict) else {})


def open_weights(path: Path, config: ModelConfig) -> dict[str, StoredTensor]:
    """The tensors of a folder or GGUF file under our names, unread; a tied head is left out. Raises ModelError."""
    if is_gguf(path):
        stored = gguf_weights(config, open_gguf(path))
    else:
        stored = stored_tensors(path)
        if is_astrai(read_json(path / CONFIG)):
            stored = astrai_weights(config, stored)
    return _without_tied_head(config, stored)


def open_model(path: Path) -> tuple[Transformer, dict[str, StoredTensor]]:
    """The model of a folder or GGUF file without weights, and its unread tensors, which fit it. Raises ModelError."""
    config = load_config(path)
    scheme = quantization_scheme(path)
    stored = open_weights(path, config)
    with torch.device("meta"):
        model = Transformer(config)
        if scheme is not None:
            prepare_for_quantized_(model, scheme)
    check_fit(path.name, _without_tied_head(config, model.state_dict()), stored)
    return model, stored


def load_model(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    scheme: Scheme | None = None,
    blocks_only: bool = False,
) -> Transformer:
    """Open a model folder or GGUF file. Float weights become `dtype`; None keeps what is stored.

    With a `scheme` float matrices, or those of the blocks only, are quantised one after the other, so that memory
    holds the quantised model and one matrix. Raises ModelError naming every missing, unknown or wrongly shaped
    tensor, before one is read.
    """
    model, stored = open_model(path)
    if scheme is not None:
        prepare_for_quantized_(model.model.layers if blocks_only else model, scheme)
    converted: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        module, _, parameter = name.rpartition(".")
        target = model.get_submodule(module)
        is_float = tensor.dtype.is_floating_point
        if is_float and parameter == "weight" and isinstance(target, QuantizedLinear | QuantizedEmbedding):
            target.fill(tensor.read().to(device))
        else:
            converted[name] = tensor.read().to(device, dtype if is_float else None)
    model.load_state_dict(converted, strict=False, assign=True)
    if model.config.tie_word_embeddings:
        model.tie_head()
    return model.eval()


def save_model(
    model: Backbone,
    folder: Path,
    *,
    tokenizer: Tokenizer | None = None,
    extra: dict[str, Any] | None = None,
    max_shard_bytes: int = 4 * 2**30,
) -> None:
    """Write a model folder that transformers loads too. `extra` is added to `config.json`.

    `config.json` is written last, and taken away before a model is replaced: a folder that has one is whole.
    Raises: ModelError when it cannot be written, a full disk for instance.
    """
    tensors = {name: tensor.contiguous() for name, tensor in weights_of(model).items()}
    try:
        make_folder(folder)
        (folder / CONFIG).unlink(missing_ok=True)
        sync(folder)
        write_tensors(tensors, folder, max_shard_bytes)
        save_description(model, folder, tokenizer=tokenizer, extra=extra)
    except (OSError, SafetensorError) as exc:
        raise cannot_write(folder, sum(tensor.nbytes for tensor in tensors.values()), exc) from exc


def weights_of(model: Backbone) -> dict[str, Tensor]:
    """The tensors that a model folder holds, by name; a tied head is left out."""
    return {name: tensor.detach() for name, tensor in _without_tied_head(model.config, model.state_dict()).items()}


def save_description(
    model: Backbone, folder: Path, *, tokenizer: Tokenizer | None, extra: dict[str, Any] | None = None
) -> None:
    """Write what a model folder holds beside its weights. Raises: OSError."""
    if tokenizer is not None:
        tokenizer.save(folder)
    dtype = str(model.model.norm.weight.dtype).removeprefix("torch.")
    write_json(folder / CONFIG, {**model.hf_config(), "dtype": dtype, **(extra or {})})


def cannot_write(place: Path, needed_bytes: int, exc: Exception) -> ModelError:
    """The error of a model that does not fit a place, with both sizes."""
    return ModelError(
        "{path} could not be written: {reason} ({needed:.1f} MB needed, {free:.1f} MB free).",
        "Free some space, or choose a folder that you may write to.",
        path=place,
        reason=exc,
        needed=needed_bytes / 1e6,
        free=free_bytes(place) / 1e6,
    )


def free_bytes(folder: Path) -> int:
    """Free space on the disk that holds a folder, which need not exist yet."""
    return shutil.disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.exists())).free


def _without_tied_head(config: ModelConfig, tensors: dict[str, Value]) -> dict[str, Value]:
    """Those that a model folder holds: a tied head is the embedding, and is left out."""
    if not config.tie_word_embeddings:
        return tensors
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("lm_head.")}
