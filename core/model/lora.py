"""LoRA adapters in PEFT's layout, served beside the model's own weights and not merged into them.

A linear layer y = W x becomes y = W x + s B A x for the rows of the requests that ask for an adapter, with A (r, I),
B (O, r) and s = alpha / r, or alpha / √r with rank-stabilised scaling. Several adapters and none can stand in one
step. Sources: Hu et al. 2021; Kalajdzievski 2023 (rsLoRA); PEFT's checkpoint format.

Legend: R rows, I inputs, O outputs, r rank.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.files import read_json_object
from core.model.transformer import Transformer

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
TENSOR_NAME = re.compile(r"base_model\.model\.(model\.layers\.\d+\.(?:self_attn|mlp)\.\w+)\.lora_([AB])\.weight")
# Kinds of adapters that compute something else; each must be absent or off.
UNSUPPORTED = (
    "use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "fan_in_fan_out", "lora_bias", "use_qalora",
    "megatron_config", "trainable_token_indices", "layer_replication", "target_parameters",
)  # fmt: skip
MAX_RANK = 1024
REMEDY = "Use a LoRA adapter of the attention and feed-forward layers, saved by PEFT for this very model."


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to one linear layer: A (r, I) and s B (O, r)."""

    a: Tensor
    b: Tensor


Adapter = Mapping[str, LowRank]  # by the layer's name, as `model.layers.0.self_attn.q_proj`


def load_adapter(folder: Path, config: ModelConfig) -> Adapter:
    """Read a PEFT folder, in fp32 on the CPU.

    Raises ModelError for anything but plain LoRA: other kinds, unknown layers, shapes of another model, a pickle.
    """
    scale = _scale(folder)
    rank = int(_read_config(folder)["r"])
    shapes = linear_shapes(config)
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in _read_tensors(folder):
        match = TENSOR_NAME.fullmatch(name)
        if match is None or match[1] not in shapes:
            raise ModelError(f"{folder.name} changes {name}, which is no layer of this model's that can be.", REMEDY)
        outputs, inputs = shapes[match[1]]
        expected = [rank, inputs] if match[2] == "A" else [outputs, rank]
        if list(tensor.shape) != expected or not tensor.is_floating_point():
            raise ModelError(
                f"{name} of {folder.name} is {list(tensor.shape)} of {tensor.dtype}, this model needs {expected}.",
                REMEDY,
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{name} of {folder.name} holds values that are not finite.", "Train the adapter again.")
        found.setdefault(match[1], {})[match[2]] = tensor.float()
    halves = [name for name, pair in found.items() if len(pair) < 2]
    if halves or not found:
        what = f"has only one half of {halves[0]}" if halves else "holds no layer"
        raise ModelError(f"{folder.name} {what}.", "Save the adapter again.")
    return {name: LowRank(pair["A"], pair["B"] * scale) for name, pair in found.items()}


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


class AdapterHooks:
    """Lets a Transformer's linear layers add the adapters of the rows that they are given."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._adapters: dict[str, Adapter] = {}
        self._hooked: set[str] = set()
        self._rows: Mapping[str, Tensor] = {}

    def add(self, name: str, adapter: Adapter) -> None:
        """Make an adapter known."""
        norm = self._model.model.norm.weight
        self._adapters[name] = {
            layer: LowRank(low.a.to(norm.device, norm.dtype), low.b.to(norm.device, norm.dtype))
            for layer, low in adapter.items()
        }
        for layer in adapter.keys() - self._hooked:
            self._model.get_submodule(layer).register_forward_hook(self._hook_of(layer))
            self._hooked.add(layer)

    @contextmanager
    def active(self, rows: Mapping[str, Tensor]) -> Iterator[None]:
        """While inside, adapter `name` is added to the rows `rows[name]` (n,) of (1, R, I) inputs."""
        self._rows = rows
        try:
            yield
        finally:
            self._rows = {}

    def _hook_of(self, layer: str) -> Any:
        def add_adapters(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            for name, rows in self._rows.items():
                low = self._adapters[name].get(layer)
                if low is not None:
                    added = inputs[0][0, rows] @ low.a.T @ low.b.T  # (n, O)
                    output = output.index_add(1, rows, added[None].to(output.dtype))
            return output

        return add_adapters


def _read_config(folder: Path) -> dict[str, Any]:
    return read_json_object(folder / CONFIG, ModelError, "Choose a folder that PEFT saved an adapter to.")


def _scale(folder: Path) -> float:
    """s of a plain LoRA. Raises ModelError for another kind."""
    settings = _read_config(folder)
    if settings.get("peft_type") != "LORA":
        raise ModelError(f"{folder.name} is an adapter of kind {settings.get('peft_type')!r}, not LORA.", REMEDY)
    odd = [name for name in UNSUPPORTED if settings.get(name)]
    if settings.get("bias", "none") != "none":
        odd.append("bias")
    if odd:
        raise ModelError(f"{folder.name} sets {odd[0]} to {settings[odd[0]]!r}, which is not supported.", REMEDY)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise ModelError(f"r of {folder.name} is {rank!r}, it must be a number in 1 … {MAX_RANK}.", REMEDY)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ModelError(f"lora_alpha of {folder.name} is {alpha!r}, it must be a number.", REMEDY)
    return alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank


def _read_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    path = folder / WEIGHTS
    if not path.exists():
        pickles = sorted(found.name for pattern in ("*.bin", "*.pt", "*.pth") for found in folder.glob(pattern))
        reason = f"has its weights as a pickle ({pickles[0]}), which can run code" if pickles else f"has no {WEIGHTS}"
        raise ModelError(f"{folder} {reason}.", "Save the adapter with safe_serialization=True.")
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - not a mapping
                yield name, file.get_tensor(name)
    except (OSError, SafetensorError) as exc:
        raise ModelError(f"{path} is not a whole safetensors file: {exc}.", "Save or copy the adapter again.") from exc
