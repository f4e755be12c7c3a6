"""Which parameters a run trains, how the others are kept, and what becomes of both on disk.

All weights are trained, those of a quantised base as the floats that its bits stand for; or adapters beside a base that
is frozen: as it is stored, or quantised in its blocks, with embedding and head in fp32. A checkpoint or result is a
model folder, or for adapters a PEFT folder that names its base.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.files import make_folder
from core.model.adapted_model import load_merged, model_folder
from core.model.adapters import AdapterShape, adaptable_layers, add_adapters_
from core.model.bnb import quantize_with_bitsandbytes_
from core.model.checkpoint import cannot_write, quantization_scheme, save_model
from core.model.folder import AdapterBase, find_model
from core.model.peft_format import load_values_, read_adapter, write_adapter
from core.model.quantize import INT4, INT8, dequantize_
from core.model.transformer import Backbone, Transformer
from core.model.weights import stored_tensors

logger = logging.getLogger(__name__)

SCHEMES = {"none": None, "nf4": None, "int8": INT8, "int4": INT4}
NF4_BITS = 4


def load_base(path: Path, config: TrainConfig) -> Transformer:
    """The model that a run starts from, on the CPU: floats in fp32, blocks quantised one matrix after the other.

    Raises ModelError for a quantised model that was to be quantised in another way.
    """
    stored = quantization_scheme(model_folder(path))
    if config.adapter == "none":
        if stored is not None:
            logger.warning("%s is %s: the run begins at the rounded weights, in fp32", path, stored.name)
        return load_floats(path).requires_grad_(True)
    if stored is not None and config.base_quantization not in ("none", stored.name):
        raise ModelError(
            "{path} is {stored} already, and base_quantization is {wanted}.",
            "Set base_quantization to none or {stored}, or start from the unquantised model.",
            path=path,
            stored=stored.name,
            wanted=config.base_quantization,
        )
    scheme = SCHEMES[config.base_quantization] if stored is None else None
    model = load_merged(path, dtype=torch.float32, scheme=scheme, blocks_only=True)
    dequantize_(model, torch.float32, outside="model.layers.")
    return model


def load_floats(path: Path, *, device: torch.device | str = "cpu") -> Transformer:
    """A model in fp32 whatever it is stored in. Raises ModelError."""
    model = load_merged(path, device=device, dtype=torch.float32)
    dequantize_(model, torch.float32)
    return model


def dequantised_from(config: TrainConfig) -> str | None:
    """The form of the base whose rounded weights a run trains as floats; None where nothing was rounded."""
    if not config.base or config.adapter != "none":
        return None
    scheme = quantization_scheme(model_folder(find_model(config.base)))
    return scheme.name if scheme else None


def prepare_parameters_(model: Backbone, config: TrainConfig, base: AdapterBase | None) -> None:
    """Freeze what is not trained and put in what is, in place and where the model is. `base` is what adapters name."""
    model.checkpoints_blocks = config.gradient_checkpointing
    if config.adapter == "none":
        return
    assert base is not None, "the config asks for it"
    if config.base_quantization == "nf4":
        assert isinstance(model, Transformer)
        quantize_with_bitsandbytes_(model, NF4_BITS)
    shape = AdapterShape(rank=config.lora_rank, alpha=config.lora_alpha, is_dora=config.adapter == "dora")
    add_adapters_(model, shape, layers=adaptable_layers(model, config.lora_layers), seed=config.seed)
    model.adapter_base = base


def save_result(model: Backbone, folder: Path, *, tokenizer: Tokenizer, origin: dict[str, Any] | None = None) -> None:
    """Write what was trained, so that `core.load` opens it: the whole model, or the adapters alone.

    `origin` tells where it comes from. Raises: ModelError when it cannot be written, a full disk for instance.
    """
    if model.adapter_base is None:
        save_model(model, folder, tokenizer=tokenizer, extra={"astrai": origin} if origin else None)
        return
    try:
        make_folder(folder)
        tokenizer.save(folder)
        write_adapter(model, folder, base=model.adapter_base, origin=origin)
    except (OSError, SafetensorError) as exc:
        needed = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
        raise cannot_write(folder, needed, exc) from exc


def load_trained_(model: Backbone, folder: Path) -> None:
    """Put back what `save_result` wrote. Raises ModelError where it does not fit."""
    if model.adapter_base is not None:
        load_values_(model, read_adapter(folder, model.config))
        return
    tensors = {name: tensor.read() for name, tensor in stored_tensors(folder).items()}
    model.load_state_dict(tensors, strict=False)  # a tied head is not stored


def num_trained(model: nn.Module) -> int:
    """How many values a step changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
