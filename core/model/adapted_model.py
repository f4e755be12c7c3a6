"""Adapter folders as models: the base that they name, checked, and base and adapter made one."""

from pathlib import Path

import torch

from core.config.model_config import ModelConfig
from core.data.tokenizer import JSON_FILE, SENTENCEPIECE_FILE
from core.errors import ModelError
from core.model.adapters import add_adapters_, merge_
from core.model.checkpoint import load_model
from core.model.folder import ADAPTER_CONFIG, find_model, is_adapter
from core.model.lora import Adapter, load_adapter
from core.model.peft_format import load_values_, read_adapter, read_base, read_shape
from core.model.quantize import Scheme, dequantize_, quantize_
from core.model.transformer import Transformer
from core.model.weight_files import weights_hash


def base_folder(folder: Path) -> Path:
    """The model that an adapter folder was trained on. Raises ModelError if it is not here, or another one.

    A relative path is looked for beside the adapter first. An adapter that was not trained here has no hash to check.
    """
    base = read_base(folder)
    beside = folder / base.path
    try:
        path = find_model(beside if beside.exists() else base.path)
    except ModelError as exc:
        raise ModelError(
            f"{folder.name} is an adapter of {base.path}, which is not here: {exc.message}",
            f"Put that model there, or correct base_model_name_or_path in {ADAPTER_CONFIG}.",
        ) from exc
    found = weights_hash(path) if base.weights_hash else None
    if found != base.weights_hash:
        raise ModelError(
            f"{folder.name} was trained on a model whose weights hash to {str(base.weights_hash)[:12]}…;"
            f" those of {path} hash to {str(found)[:12]}….",
            f"Put the right model there, or correct base_model_name_or_path in {ADAPTER_CONFIG}.",
        )
    return path


def model_folder(path: Path) -> Path:
    """The folder or file that holds the weights and the shape: of an adapter its base's, and so on."""
    while is_adapter(path):
        path = base_folder(path)
    return path


def tokenizer_folder(path: Path) -> Path:
    """The folder or file that holds a model's tokenizer: an adapter may have its own, or take its base's."""
    while is_adapter(path) and not any((path / name).exists() for name in (JSON_FILE, SENTENCEPIECE_FILE)):
        path = base_folder(path)
    return path


def servable_adapter(path: Path, config: ModelConfig) -> Adapter | None:
    """The adapter of a folder if it can be added beside its base while that stays as it is: LoRA, not DoRA."""
    return load_adapter(path, config) if is_adapter(path) and not read_shape(path).is_dora else None


def load_merged(
    path: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    scheme: Scheme | None = None,
    blocks_only: bool = False,
) -> Transformer:
    """Open a model as `load_model` does, and an adapter folder as its base with the adapter merged into it.

    A merged model is computed in floats and then quantised where a `scheme` asks for it. Raises ModelError.
    """
    if not is_adapter(path):
        return load_model(path, device=device, dtype=dtype, scheme=scheme, blocks_only=blocks_only)
    base = base_folder(path)
    model = load_merged(base, device=device, dtype=dtype)
    adapter = read_adapter(path, model.config)
    dequantize_(model, dtype or torch.float32)
    add_adapters_(model, adapter.shape, layers=adapter.layers, seed=0)
    load_values_(model, adapter)
    merge_(model)
    if scheme is not None:
        quantize_(model.model.layers if blocks_only else model, scheme)
    return model.eval()
