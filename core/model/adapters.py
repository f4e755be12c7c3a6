"""Trainable low-rank adapters inside a Transformer: LoRA and DoRA over frozen layers of any form.

A linear layer y = W x becomes y = W x + s B A x with s = alpha / r; DoRA then gives each output the length m that is
learnt apart from its direction: y = m / ‖W + s B A‖ · (W x + s B A x), the norm over inputs and without a gradient.
W stays as it is: `nn.Linear`, our int8 or int4, or bitsandbytes' NF4. B begins with zeros and m with ‖W‖, so a fresh
adapter changes nothing. Sources: Hu et al. 2021 (LoRA), Liu et al. 2024 (DoRA, §4.3), Kalajdzievski 2023 (rsLoRA).

Legend: I inputs, O outputs, r rank.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.model.bnb import dequantized_nf4
from core.model.quantize import QuantizedLinear

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
# Which layers of each block are adapted.
LAYER_CHOICES = {"all": (*ATTENTION, *FEED_FORWARD), "attention": ATTENTION}


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterShape:
    """What an adapter is made of, apart from its values."""

    rank: int
    alpha: float
    is_dora: bool = False
    is_rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """s: alpha / r, or alpha / √r with rank-stabilised scaling."""
        return self.alpha / (math.sqrt(self.rank) if self.is_rank_stabilised else self.rank)


class AdaptedLinear(nn.Module):
    """A frozen linear layer with an adapter beside it."""

    def __init__(self, base: nn.Module, shape: AdapterShape) -> None:
        super().__init__()
        outputs, inputs = linear_size(base)
        device = next(tensor.device for tensor in base.state_dict().values())
        self.base = base.requires_grad_(False)
        self.shape, self.is_on = shape, True
        self.lora_a = nn.Parameter(torch.empty(shape.rank, inputs, device=device, dtype=torch.float32))
        self.lora_b = nn.Parameter(torch.zeros(outputs, shape.rank, device=device, dtype=torch.float32))
        self.magnitude = nn.Parameter(float_weight(base).float().norm(dim=1)) if shape.is_dora else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) -> (…, O)."""
        plain: Tensor = self.base(x)
        if not self.is_on:
            return plain
        # Without autocast the products are in the type of x, which need not be the adapter's fp32.
        added = F.linear(F.linear(x, self.lora_a.to(x.dtype)) * self.shape.scale, self.lora_b.to(x.dtype))
        if self.magnitude is None:
            return plain + added
        gain = self.magnitude / self._lengths()
        bias = self.base.bias
        if not isinstance(bias, Tensor):
            return (plain + added) * gain
        return (plain - bias + added) * gain + bias

    @torch.no_grad()
    def merged_weight(self) -> Tensor:
        """The one matrix (O, I) that does what base and adapter do together."""
        weight = self._sum()
        return weight if self.magnitude is None else weight * (self.magnitude / weight.norm(dim=1))[:, None]

    @torch.no_grad()
    def _lengths(self) -> Tensor:
        return self._sum().norm(dim=1)

    def _sum(self) -> Tensor:
        """W + s B A."""
        return self.lora_b @ self.lora_a * self.shape.scale + float_weight(self.base)


class MergedLinear(nn.Linear):
    """Base and adapter as one plain layer of the base's type, which keeps what it was made of for `unmerge_`."""

    def __init__(self, source: AdaptedLinear) -> None:
        weight, bias = source.merged_weight().to(float_weight(source.base).dtype), source.base.bias
        with torch.device("meta"):
            super().__init__(weight.shape[1], weight.shape[0], bias=False)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_parameter("bias", bias if isinstance(bias, nn.Parameter) else None)
        self.sources = (source,)  # in a tuple, so that its tensors are not this module's


def linear_size(layer: nn.Module) -> tuple[int, int]:
    """(O, I) of a linear layer of any form."""
    if isinstance(layer, QuantizedLinear):
        return layer.outputs, layer.inputs
    assert isinstance(layer, nn.Linear), type(layer)
    return layer.out_features, layer.in_features


def float_weight(layer: nn.Module) -> Tensor:
    """The weights (O, I) of a linear layer as floats; those of a quantised one are made for the call."""
    if isinstance(layer, QuantizedLinear):
        return layer.floats()
    assert isinstance(layer, nn.Linear), type(layer)
    weight = layer.weight.detach()
    return weight if weight.is_floating_point() else dequantized_nf4(layer)


def adaptable_layers(model: nn.Module, choice: str) -> list[str]:
    """The names of the blocks' linear layers that one of LAYER_CHOICES means."""
    endings = LAYER_CHOICES[choice]
    return [
        name
        for name, _ in model.named_modules()
        if name.startswith("model.layers.") and name.rpartition(".")[2] in endings
    ]


def add_adapters_(model: nn.Module, shape: AdapterShape, *, layers: Iterable[str], seed: int) -> None:
    """Freeze a model and put an adapter beside each of the named layers, in place.

    A begins uniform in ±1/√I, as PEFT's does; the same seed gives the same values on every device.
    """
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name in layers:
        adapted = AdaptedLinear(model.get_submodule(name), shape)
        bound = 1 / math.sqrt(adapted.lora_a.shape[1])
        drawn = torch.empty(adapted.lora_a.shape).uniform_(-bound, bound, generator=generator)
        adapted.lora_a.data.copy_(drawn)
        _replace(model, name, adapted)


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLinear]:
    """The layers that have an adapter, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """While inside, the model is its frozen base: the reference of a policy that is trained through adapters."""
    layers = [layer for layer in adapted_layers(model).values() if layer.is_on]
    for layer in layers:
        layer.is_on = False
    try:
        yield
    finally:
        for layer in layers:
            layer.is_on = True


def merge_(model: nn.Module) -> None:
    """Make one plain layer of each base and its adapter, in place: the model is like any other then, and saved so.

    A quantised base becomes floats. `unmerge_` puts back exactly what was there.
    """
    for name, layer in adapted_layers(model).items():
        _replace(model, name, MergedLinear(layer))


def unmerge_(model: nn.Module) -> None:
    """Undo `merge_`."""
    for name, layer in list(model.named_modules()):
        if isinstance(layer, MergedLinear):
            _replace(model, name, layer.sources[0])


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
