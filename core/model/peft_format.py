"""Adapters on disk, in PEFT's own layout: `adapter_config.json` and `adapter_model.safetensors`.

Tensors are called `base_model.model.LAYER.lora_A.weight` (r, I), `….lora_B.weight` (O, r) and, for DoRA,
`….lora_magnitude_vector` (O,). Beside PEFT's settings stands one of ours, `astrai`, with the hash of the base's
weights, since an adapter means nothing on another base. Written as PEFT 0.21 does.

Legend: I inputs, O outputs, r rank.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.files import make_folder, read_json_object, write_atomic, write_json
from core.model.adapters import AdapterShape, adapted_layers
from core.model.folder import ADAPTER_CONFIG, AdapterBase, refuse_links_outside
from core.model.weight_files import ADAPTER_WEIGHTS
from core.model.weights import StoredTensor, tensors_of_file

PREFIX = "base_model.model."
TENSOR_NAME = re.compile(
    r"base_model\.model\.(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+)\.lora_"
    r"(?:([AB])\.weight|(magnitude)_vector(?:\.weight)?)"
)
# Kinds of adapters that compute something else; each must be absent or off.
UNSUPPORTED = (
    "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias", "use_qalora",
    "megatron_config", "trainable_token_indices", "layer_replication", "target_parameters",
)  # fmt: skip
MAX_RANK = 1024
REMEDY = "Use a LoRA adapter of the attention and feed-forward layers, saved by PEFT for this very model."


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """One layer's A (r, I), B (O, r) and, for DoRA, magnitude (O,), in fp32."""

    a: Tensor
    b: Tensor
    magnitude: Tensor | None


@dataclass(frozen=True, slots=True)
class StoredAdapter:
    """A folder's adapter, its layers by name as `model.layers.0.self_attn.q_proj`."""

    shape: AdapterShape
    layers: Mapping[str, StoredLayer]


def write_adapter(
    model: nn.Module, folder: Path, *, base: AdapterBase, origin: Mapping[str, Any] | None = None
) -> None:
    """Write a model's adapters, the config last: a folder that has one is whole. `origin` is kept beside the hash.

    Raises: OSError, SafetensorError.
    """
    layers = adapted_layers(model)
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.lora_a.detach().contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = layer.lora_b.detach().contiguous()
        if layer.magnitude is not None:
            tensors[f"{PREFIX}{name}.lora_magnitude_vector"] = layer.magnitude.detach().contiguous()
    make_folder(folder)
    write_atomic(folder / ADAPTER_WEIGHTS, lambda temporary: save_file(tensors, temporary, metadata={"format": "pt"}))
    shape = next(iter(layers.values())).shape
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.path,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": shape.is_dora,
        "use_rslora": shape.is_rank_stabilised,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
        "inference_mode": True,
        "astrai": {"base_weights_hash": base.weights_hash, **(origin or {})},
    }
    write_json(folder / ADAPTER_CONFIG, settings)


def read_base(folder: Path, *, is_needed: bool = True) -> AdapterBase:
    """The base that an adapter folder names. Raises ModelError when it names none and one is needed."""
    settings = _read_settings(folder)
    path, own = settings.get("base_model_name_or_path"), settings.get("astrai")
    if not isinstance(path, str) or "\0" in path:
        path = ""
    if not path and is_needed:
        raise ModelError(
            "{folder} names no base model in its {file}.", "Write its path to base_model_name_or_path.",
            folder=folder, file=ADAPTER_CONFIG,
        )  # fmt: skip
    known = own.get("base_weights_hash") if isinstance(own, dict) else None
    return AdapterBase(path, known if isinstance(known, str) else None)


def read_adapter(folder: Path, config: ModelConfig) -> StoredAdapter:
    """Read an adapter for a model of this shape.

    Raises ModelError for anything but LoRA and DoRA: other kinds, unknown layers, shapes of another model, a pickle.
    """
    shape = read_shape(folder)
    sizes = linear_shapes(config)
    found: dict[str, dict[str, Tensor]] = {}
    for name, stored in _open_tensors(folder):
        match = TENSOR_NAME.fullmatch(name)
        if match is None or match[1] not in sizes:
            raise ModelError(
                "{folder} changes {name}, which is no layer of this model's that can be.", REMEDY,
                folder=folder.name, name=name[:200],
            )  # fmt: skip
        part = match[2] or match[3]
        outputs, inputs = sizes[match[1]]
        expected = {"A": [shape.rank, inputs], "B": [outputs, shape.rank], "magnitude": [outputs]}[part]
        if list(stored.shape) != expected or not stored.dtype.is_floating_point:
            raise ModelError(
                "{name} of {folder} is {found} of {dtype}, this model needs {needed}.", REMEDY,
                name=name, folder=folder.name, found=list(stored.shape), dtype=stored.dtype, needed=expected,
            )  # fmt: skip
        tensor = stored.read().float()
        if not torch.isfinite(tensor).all():
            raise ModelError(
                "{name} of {folder} holds values that are not finite.", "Train the adapter again.",
                name=name, folder=folder.name,
            )  # fmt: skip
        found.setdefault(match[1], {})[part] = tensor
    return StoredAdapter(shape, _whole_layers(folder, found, is_dora=shape.is_dora))


def _whole_layers(folder: Path, found: dict[str, dict[str, Tensor]], *, is_dora: bool) -> dict[str, StoredLayer]:
    if not found:
        raise ModelError("{folder} holds no layer.", "Save the adapter again.", folder=folder.name)
    needed = {"A", "B", "magnitude"} if is_dora else {"A", "B"}
    for name, parts in found.items():
        if parts.keys() != needed:
            has = ", ".join(sorted(parts))
            wanted = ", ".join(sorted(needed))
            raise ModelError(
                "{folder} has {found} of {name}, and an adapter of its kind has {wanted}.",
                "Save the adapter again.",
                folder=folder.name,
                found=has,
                name=name,
                wanted=wanted,
            )
    return {name: StoredLayer(parts["A"], parts["B"], parts.get("magnitude")) for name, parts in found.items()}


def load_values_(model: nn.Module, stored: StoredAdapter) -> None:
    """Copy a stored adapter's values into a model's adapters. Raises ModelError where they are of another kind."""
    layers = adapted_layers(model)
    shape = next(iter(layers.values())).shape
    if layers.keys() != stored.layers.keys() or shape != stored.shape:
        raise ModelError(
            "The stored adapter is of {stored} layers as {stored_shape}, the model's of {count} as {shape}.",
            "Use the settings that the adapter was made with.",
            stored=len(stored.layers),
            stored_shape=stored.shape,
            count=len(layers),
            shape=shape,
        )
    with torch.no_grad():
        for name, layer in layers.items():
            values = stored.layers[name]
            layer.lora_a.copy_(values.a)
            layer.lora_b.copy_(values.b)
            if layer.magnitude is not None and values.magnitude is not None:
                layer.magnitude.copy_(values.magnitude)


def linear_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(O, I) of every layer that an adapter may change, by name."""
    hidden, inner = config.hidden_size, config.intermediate_size
    q, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    block = {
        "self_attn.q_proj": (q, hidden),
        "self_attn.k_proj": (kv, hidden),
        "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    layers = range(config.num_hidden_layers)
    return {f"model.layers.{layer}.{name}": shape for layer in layers for name, shape in block.items()}


def _read_settings(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / ADAPTER_CONFIG, ModelError, "Choose a folder that PEFT saved an adapter to.")


def read_shape(folder: Path) -> AdapterShape:
    """What the settings say of the adapter. Raises ModelError for a kind that is neither LoRA nor DoRA."""
    settings = _read_settings(folder)
    if settings.get("peft_type") != "LORA":
        raise ModelError(
            "{folder} is an adapter of kind {found}, not LORA.", REMEDY,
            folder=folder.name, found=shown(settings.get("peft_type")),
        )  # fmt: skip
    odd = [name for name in UNSUPPORTED if settings.get(name)]
    if settings.get("bias", "none") != "none":
        odd.append("bias")
    if odd:
        raise ModelError(
            "{folder} sets {name} to {found}, which is not supported.", REMEDY,
            folder=folder.name, name=odd[0], found=shown(settings[odd[0]]),
        )  # fmt: skip
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise ModelError(
            "r of {folder} is {found}, it must be a number in 1 … {most}.", REMEDY,
            folder=folder.name, found=shown(rank), most=MAX_RANK,
        )  # fmt: skip
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) <= sys.float_info.max:
        raise ModelError(
            "lora_alpha of {folder} is {found}, it must be a number.", REMEDY, folder=folder.name, found=shown(alpha)
        )
    return AdapterShape(
        rank=rank,
        alpha=alpha,
        is_dora=bool(settings.get("use_dora")),
        is_rank_stabilised=bool(settings.get("use_rslora")),
    )


def _open_tensors(folder: Path) -> Iterator[tuple[str, StoredTensor]]:
    refuse_links_outside(folder)
    path = folder / ADAPTER_WEIGHTS
    if not path.exists():
        pickles = sorted(found.name for pattern in ("*.bin", "*.pt", "*.pth") for found in folder.glob(pattern))
        raise ModelError(
            "{folder} has its weights as a pickle ({file}), which can run code."
            if pickles
            else "{folder} has no {file}.",
            "Save the adapter with safe_serialization=True.",
            folder=folder,
            file=next(iter(pickles), ADAPTER_WEIGHTS),
        )
    return iter(tensors_of_file(path).items())
