"""Weight-only quantisation: int8 with one scale for each output row, int4 with one for each group of a row.

Weights become whole numbers and scales; activations stay in floating point here, and become bytes in the CPU's
kernels. Embedding and head are quantised too, a tied head shares the embedding's tensors. A quantised model is a
safetensors file like any other: `NAME.weight` (int8 (O, I), or int4 as bytes (O, I/2)) and `NAME.weight_scale`
(fp32 (O,), or fp16 (O, I/G)); `core.kernels.packing` tells the order of nibbles. Rows of int4 are filled up to
whole groups.

Legend: B batch, T time, I inputs, O outputs, G group.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core import kernels
from core.errors import ModelError

METHOD = "astrai"
GROUP_SIZES = (32, 64, 128)
# Levels, on the scale from -8 to 7, at which the largest weight of a group is tried: beyond the ends it is cut off.
PEAK_LEVELS = (*(-step / 4 for step in range(29, 41)), *(step / 4 for step in range(25, 36)))
# Rows are quantised so many weights at a time.
CHUNK_WEIGHTS = 2**22
# So many weights are worth the compiled search.
KERNEL_WEIGHTS = 2**20
# So many weights at a time become floats for a product: 4 MB, which fit the cache and are no new pages each time.
PRODUCT_WEIGHTS = 2**20
LOW_NIBBLES = 0x0F0F0F0F


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """How a model is quantised. `head_bits` is of embedding and head, `group_size` of int4."""

    bits: int
    group_size: int = 64
    head_bits: int = 8

    def to_config(self) -> dict[str, Any]:
        """The `quantization_config` of our folders."""
        sizes = {"group_size": self.group_size, "head_bits": self.head_bits} if self.bits == 4 else {}
        return {"quant_method": METHOD, "bits": self.bits, **sizes}

    @classmethod
    def from_config(cls, values: Mapping[str, Any]) -> "Scheme":
        """Read a `quantization_config`. Raises ModelError for another method, or sizes that are not ours."""
        scheme = cls(
            bits=values.get("bits", 0), group_size=values.get("group_size", 64), head_bits=values.get("head_bits", 8)
        )
        are_whole = all(type(size) is int for size in (scheme.bits, scheme.group_size, scheme.head_bits))
        is_ours = values.get("quant_method") == METHOD and scheme.bits in (4, 8) and scheme.head_bits in (4, 8)
        if not (are_whole and is_ours) or scheme.group_size not in GROUP_SIZES:
            raise ModelError(
                "The model is quantised as {found} with {bits} bits, which is not supported.",
                "Use the unquantised model; it is quantised here on loading.",
                found=repr(values.get("quant_method")),
                bits=repr(values.get("bits")),
            )
        return scheme

    @property
    def name(self) -> str:
        return f"int{self.bits}"


INT8 = Scheme(bits=8)
INT4 = Scheme(bits=4)


class _Quantized(nn.Module):
    """A matrix (O, I) of whole numbers with its scales."""

    weight: Tensor
    weight_scale: Tensor

    def __init__(self, outputs: int, inputs: int, *, bits: int, group_size: int) -> None:
        super().__init__()
        self.outputs, self.inputs, self.bits, self.group_size = outputs, inputs, bits, group_size
        if bits == 8:
            self.register_buffer("weight", torch.empty(outputs, inputs, dtype=torch.int8))
            self.register_buffer("weight_scale", torch.empty(outputs))
        else:
            groups = math.ceil(inputs / group_size)
            self.register_buffer("weight", torch.empty(outputs, groups * group_size // 2, dtype=torch.uint8))
            self.register_buffer("weight_scale", torch.empty(outputs, groups, dtype=torch.float16))

    def floats(self, rows: Tensor | slice | None = None) -> Tensor:
        """All weights, or those of some rows (…,), as fp32 (…, I)."""
        weight, scale = (
            (self.weight, self.weight_scale) if rows is None else (self.weight[rows], self.weight_scale[rows])
        )
        if self.bits == 8:
            return weight.float().mul_(scale.float().unsqueeze(-1))
        values = unpack_nibbles(weight).view(*scale.shape, self.group_size).float().mul_(scale.float().unsqueeze(-1))
        return values.flatten(-2)[..., : self.inputs]

    def fill(self, weight: Tensor) -> None:
        """Quantise fp weights (O, I) into this module."""
        self.weight, self.weight_scale = quantize_weight(weight, bits=self.bits, group_size=self.group_size)


class QuantizedLinear(_Quantized):
    """`nn.Linear` over whole numbers."""

    def __init__(self, in_features: int, out_features: int, *, bias: bool, bits: int = 8, group_size: int = 64) -> None:
        super().__init__(out_features, in_features, bits=bits, group_size=group_size)
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, I) -> (…, O). A gradient goes to x alone."""
        result: Tensor = _FrozenProduct.apply(x, self)  # type: ignore[no-untyped-call]
        return result

    def chunks(self) -> Iterator[slice]:
        """Rows whose floats are made at once."""
        size = max(1, PRODUCT_WEIGHTS // self.inputs)
        return (slice(start, start + size) for start in range(0, self.outputs, size))


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ + bias of a quantised layer. No float of W outlives its chunk: the backward pass makes them again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        ctx.layer, ctx.dtype = layer, x.dtype
        states = x.to(dtype)
        result = states.new_empty(*x.shape[:-1], layer.outputs)
        for rows in layer.chunks():
            result[..., rows] = states @ layer.floats(rows).to(dtype).T
        return result if layer.bias is None else result.add_(layer.bias.to(dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        layer = ctx.layer
        flat = gradient.reshape(-1, layer.outputs)
        result = flat.new_zeros(len(flat), layer.inputs)
        for rows in layer.chunks():
            result.addmm_(flat[:, rows], layer.floats(rows).to(flat.dtype))
        return result.view(*gradient.shape[:-1], layer.inputs).to(ctx.dtype), None


class QuantizedEmbedding(_Quantized):
    """`nn.Embedding` over whole numbers."""

    def __init__(self, num_embeddings: int, embedding_dim: int, *, bits: int = 8, group_size: int = 64) -> None:
        super().__init__(num_embeddings, embedding_dim, bits=bits, group_size=group_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C) in fp32."""
        return self.floats(input_ids)


def quantize_weight(weight: Tensor, *, bits: int, group_size: int = 64) -> tuple[Tensor, Tensor]:
    """The stored form of a matrix (O, I) and its scales. Raises ModelError for NaN or infinity."""
    if not torch.isfinite(weight).all():
        bad = int((~torch.isfinite(weight)).sum())
        raise ModelError(
            "{bad} of {count} weights are not finite.", "Use an earlier checkpoint.", bad=bad, count=weight.numel()
        )
    convert = _to_int8 if bits == 8 else _to_int4
    chunks = torch.split(weight, max(1, CHUNK_WEIGHTS // weight.shape[1]))
    values, scales = zip(*(convert(chunk.float(), group_size) for chunk in chunks), strict=True)
    return torch.cat(values), torch.cat(scales)


def _to_int8(rows: Tensor, _: int) -> tuple[Tensor, Tensor]:
    scale = rows.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (rows / scale[:, None]).round().to(torch.int8), scale


def _to_int4(rows: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Values -8…7 of each group and the scale that loses least of it.

    The largest weight of a group is tried at several levels, some of which cut it off and place the others better.
    For the values of each trial the best scale is known (least squares); the trial with the
    smallest squared error wins, where errors of large weights count more: by √(mean square + w²).
    """
    padded = F.pad(rows, (0, -rows.shape[1] % group_size)).view(len(rows), -1, group_size).contiguous()  # (O, I/G, G)
    is_large = rows.numel() >= KERNEL_WEIGHTS and rows.device.type == "cpu"
    search = _search_compiled if is_large and kernels.are_available() else _search
    scale = search(padded).half()
    values = (padded / _nonzero(scale.float())).round_().clamp_(-8, 7).to(torch.int8)
    return pack_nibbles(values.flatten(1)), scale.squeeze(2)


def _search(groups: Tensor) -> Tensor:
    """The best scales (O, I/G, 1) of groups (O, I/G, G)."""
    peak = groups.gather(2, groups.abs().argmax(dim=2, keepdim=True))  # signed
    importance = (groups.square().mean(dim=2, keepdim=True) + groups.square()).sqrt()
    weighted = importance * groups
    best = torch.zeros_like(peak)
    best_scale = torch.zeros_like(peak)
    for level in PEAK_LEVELS:
        values = (groups / _nonzero(peak / level)).round_().clamp_(-8, 7)
        square = (importance * values.square()).sum(dim=2, keepdim=True)
        product = (weighted * values).sum(dim=2, keepdim=True)
        explained = product.square() / _nonzero(square)  # of the group's squares; the rest is the error
        is_better = explained > best
        best = torch.where(is_better, explained, best)
        best_scale = torch.where(is_better, product / _nonzero(square), best_scale)
    return best_scale


def _search_compiled(groups: Tensor) -> Tensor:
    """The same on the CPU's kernels, some twenty times faster."""
    from core.kernels.scales import Search, search_scales
    from core.kernels.team import Team

    levels = torch.tensor(PEAK_LEVELS)
    scales = torch.empty(*groups.shape[:2], 1)
    team = Team(torch.get_num_threads())
    addresses = groups.data_ptr(), scales.numel(), groups.shape[2], levels.data_ptr(), len(levels), scales.data_ptr()
    team.run(search_scales, Search(*addresses, team.size))
    team.close()
    return scales


def _nonzero(scale: Tensor) -> Tensor:
    """Divisors: a group of zeros is divided by one."""
    return torch.where(scale == 0, 1.0, scale)


def pack_nibbles(values: Tensor) -> Tensor:
    """Values -8…7 (…, I) to bytes (…, I/2); I is a multiple of 8."""
    words = (values + 8).to(torch.uint8).view(*values.shape[:-1], -1, 2, 4)
    return (words[..., 0, :] | (words[..., 1, :] << 4)).flatten(-2)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """Bytes (…, I/2) to values -8…7 (…, I) of int8, four at a time as the bytes of a word."""
    words = packed.contiguous().view(torch.int32)
    halves = torch.stack((words & LOW_NIBBLES, (words >> 4) & LOW_NIBBLES), dim=-1)
    return halves.view(torch.int8).flatten(-2).sub_(8)


def quantize_(model: nn.Module, scheme: Scheme) -> None:
    """Replace every linear layer and embedding of a model by its quantised form, in place."""
    sources = {name: module for name, module in model.named_modules() if _is_quantisable(module)}
    prepare_for_quantized_(model, scheme)
    quantised: dict[int, _Quantized] = {}
    for name, source in sources.items():
        target, weight = model.get_submodule(name), source.weight
        assert isinstance(target, _Quantized)
        assert isinstance(weight, Tensor)
        done = quantised.setdefault(id(weight), target)
        if done is target:
            target.fill(weight.detach())
        else:  # a tied head
            target.weight, target.weight_scale = done.weight, done.weight_scale
        if getattr(source, "bias", None) is not None:
            target.bias = source.bias


def prepare_for_quantized_(model: nn.Module, scheme: Scheme) -> None:
    """Put empty quantised modules in place, for weights that are loaded afterwards."""
    device = next(model.parameters()).device
    for name, module in list(model.named_modules()):
        if _is_quantisable(module):
            is_head = isinstance(module, nn.Embedding) or name == "lm_head"
            with device:
                replacement = _quantised_form(module, scheme.head_bits if is_head else scheme.bits, scheme.group_size)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, replacement)


def dequantize_(model: nn.Module, dtype: torch.dtype, *, outside: str | None = None) -> None:
    """Turn quantised layers into plain ones of `dtype`, in place: all, or all but those below a module `outside`.

    For devices that our kernels do not run on, and for embedding and head beside a base that stays quantised.
    """
    weights: dict[int, nn.Parameter] = {}
    for name, module in list(model.named_modules()):
        if not isinstance(module, _Quantized) or (outside is not None and name.startswith(outside)):
            continue
        weight = weights.get(id(module.weight))
        if weight is None:  # a tied head shares it
            weight = weights[id(module.weight)] = nn.Parameter(module.floats().to(dtype), requires_grad=False)
        with torch.device("meta"):
            plain: nn.Linear | nn.Embedding = (
                nn.Linear(module.inputs, module.outputs, bias=module.bias is not None)
                if isinstance(module, QuantizedLinear)
                else nn.Embedding(module.outputs, module.inputs, _weight=weight)
            )
        plain.weight = weight
        if isinstance(module, QuantizedLinear) and module.bias is not None:
            plain.bias = module.bias
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, plain)


def _is_quantisable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding)


def _quantised_form(module: nn.Module, bits: int, group_size: int) -> nn.Module:
    if isinstance(module, nn.Linear):
        is_biased = module.bias is not None
        return QuantizedLinear(
            module.in_features, module.out_features, bias=is_biased, bits=bits, group_size=group_size
        )
    assert isinstance(module, nn.Embedding)
    return QuantizedEmbedding(module.num_embeddings, module.embedding_dim, bits=bits, group_size=group_size)
