"""Adapters served beside the model's own weights and not merged into them.

A linear layer y = W x + c becomes y = g ∘ W x + B A x + c for the rows of the requests that ask for an adapter, with A
(r, I), B (O, r) and, where DoRA is in it, a gain g (O,). LoRA has no gain and B = s B'; DoRA has g = m / ‖W + s B' A‖
and B = g ∘ s B', since its length is known once W is. An adapter of an adapted model is one adapter of the model at
the bottom, whose ranks add up. Several adapters and none can stand in one step. Sources: Hu et al. 2021 (LoRA), Liu et
al. 2024 (DoRA). `core.model.peft_format` reads them, `core.model.adapters` trains them.

Legend: R rows, I inputs, O outputs, r rank.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.model.peft_format import StoredLayer, read_adapter
from core.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is done to one linear layer: A (r, I), B (O, r) with its scale in it, and the gain (O,); None is one."""

    a: Tensor
    b: Tensor
    gain: Tensor | None = None


Adapter = Mapping[str, LowRank]  # by the layer's name, as `model.layers.0.self_attn.q_proj`


def load_adapter(folders: Sequence[Path], config: ModelConfig, weight: Callable[[str], Tensor]) -> Adapter:
    """Read PEFT folders, each an adapter of what those before it make of the model, as one adapter; fp32 on the CPU.

    `weight` gives a layer's matrix (O, I) as it is served, by the layer's name; only DoRA asks for it. Raises
    ModelError for anything but LoRA and DoRA of this shape.
    """
    layers: dict[str, LowRank] = {}
    for folder in folders:
        stored = read_adapter(folder, config)
        for name, layer in stored.layers.items():
            low = _on_top(layers.get(name), layer, stored.shape.scale, partial(weight, name))
            if not all(torch.isfinite(part).all() for part in (low.b, *([] if low.gain is None else [low.gain]))):
                raise ModelError(
                    "{folder} makes {name} infinite: its scale is {scale:g}.",
                    "Train the adapter again.",
                    folder=folder.name,
                    name=name,
                    scale=stored.shape.scale,
                )
            layers[name] = low
    return layers


def _on_top(below: LowRank | None, layer: StoredLayer, scale: float, weight: Callable[[], Tensor]) -> LowRank:
    """A stored layer over what is there already."""
    a, b, gain = layer.a, layer.b * scale, None
    if below is not None:
        a, b, gain = torch.cat([below.a, a]), torch.cat([below.b, b], dim=1), below.gain
    if layer.magnitude is None:
        return LowRank(a, b, gain)
    plain = weight() if gain is None else weight() * gain[:, None]
    lengths = torch.addmm(plain, b, a).norm(dim=1)
    factor = torch.where(lengths > 0, layer.magnitude / lengths, 0.0)  # what has no direction stays nothing
    return LowRank(a, b * factor[:, None], factor if gain is None else gain * factor)


def adapter_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """All of its tensors, by a name each."""
    parts = {f"{name}.{part}": getattr(low, part) for name, low in adapter.items() for part in ("a", "b", "gain")}
    return {name: tensor for name, tensor in parts.items() if tensor is not None}


class AdapterHooks:
    """Lets a Transformer's linear layers apply the adapters of the rows that they are given."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._adapters: dict[str | None, Adapter] = {}
        self._hooked: set[str] = set()
        self._rows: Mapping[str | None, Tensor] = {}

    def __contains__(self, name: str | None) -> bool:
        return name in self._adapters

    def add(self, name: str | None, adapter: Adapter) -> None:
        """Make an adapter known. Gains are kept less 1, of which bf16 would keep 3 digits."""
        norm = self._model.model.norm.weight
        self._adapters[name] = {
            layer: LowRank(
                low.a.to(norm.device, norm.dtype),
                low.b.to(norm.device, norm.dtype),
                None if low.gain is None else (low.gain - 1).to(norm.device, norm.dtype),
            )
            for layer, low in adapter.items()
        }
        for layer in adapter.keys() - self._hooked:
            self._model.get_submodule(layer).register_forward_hook(self._hook_of(layer))
            self._hooked.add(layer)

    def remove(self, name: str | None) -> None:
        """Forget an adapter."""
        del self._adapters[name]

    @contextmanager
    def active(self, rows: Mapping[str | None, Tensor]) -> Iterator[None]:
        """While inside, adapter `name` is applied to the rows `rows[name]` (n,) of (1, R, I) inputs."""
        self._rows = rows
        try:
            yield
        finally:
            self._rows = {}

    def _hook_of(self, layer: str) -> Any:
        def apply_adapters(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            for name, rows in self._rows.items():
                low = self._adapters[name].get(layer)
                if low is not None:
                    change = inputs[0][0, rows] @ low.a.T @ low.b.T  # (n, O)
                    if low.gain is not None:
                        bias = module.bias if isinstance(module.bias, Tensor) else 0.0
                        change = change + (output[0, rows] - bias) * low.gain
                    output = output.index_add(1, rows, change[None].to(output.dtype))
            return output

        return apply_adapters
