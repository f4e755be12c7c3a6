"""LoRA adapters served beside the model's own weights and not merged into them.

A linear layer y = W x becomes y = W x + s B A x for the rows of the requests that ask for an adapter, with A (r, I)
and B (O, r). Several adapters and none can stand in one step. Source: Hu et al. 2021. `core.model.peft_format` reads
them, `core.model.adapters` trains them.

Legend: R rows, I inputs, O outputs, r rank.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from core.config.model_config import ModelConfig
from core.errors import ModelError
from core.model.peft_format import read_adapter
from core.model.transformer import Transformer


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to one linear layer: A (r, I) and s B (O, r)."""

    a: Tensor
    b: Tensor


Adapter = Mapping[str, LowRank]  # by the layer's name, as `model.layers.0.self_attn.q_proj`


def load_adapter(folder: Path, config: ModelConfig) -> Adapter:
    """Read a PEFT folder, in fp32 on the CPU. Raises ModelError for anything but plain LoRA of this shape."""
    stored = read_adapter(folder, config)
    if stored.shape.is_dora:
        raise ModelError(
            f"{folder.name} is a DoRA adapter: it scales whole outputs and cannot be added to some rows alone.",
            "Open the folder as a model: it is merged then.",
        )
    return {name: LowRank(layer.a, layer.b * stored.shape.scale) for name, layer in stored.layers.items()}


class AdapterHooks:
    """Lets a Transformer's linear layers add the adapters of the rows that they are given."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._adapters: dict[str | None, Adapter] = {}
        self._hooked: set[str] = set()
        self._rows: Mapping[str | None, Tensor] = {}

    def __contains__(self, name: str | None) -> bool:
        return name in self._adapters

    def add(self, name: str | None, adapter: Adapter) -> None:
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
    def active(self, rows: Mapping[str | None, Tensor]) -> Iterator[None]:
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
