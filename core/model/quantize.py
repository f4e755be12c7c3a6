"""Weight-only quantisation: int8 weights with one scale per output row.

A row w becomes round(w / s) with s = max|w| / 127; activations stay in floating point. The embedding is
quantised the same way, and a tied head shares its tensor. Stored as `NAME.weight` (int8) and
`NAME.weight_scale` (fp32), so a quantised model is a safetensors file like any other.

Legend: B batch, T time, I inputs, O outputs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import ModelError

# Up to this many rows torch's int8 kernel, which reads the weights once per row, beats unpacking them
# for one dense product (measured in `docs/lab_notebook.md`).
MAX_KERNEL_ROWS = 4


class QuantizedLinear(nn.Module):
    """`nn.Linear` over int8 weights."""

    weight: Tensor  # (O, I) int8
    weight_scale: Tensor  # (O,) fp32

    def __init__(self, in_features: int, out_features: int, *, bias: bool) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(out_features))
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) -> (B, T, O)."""
        rows = x.reshape(-1, x.shape[-1])
        if x.device.type == "cpu" and len(rows) <= MAX_KERNEL_ROWS:
            # The kernel is vectorised for bf16 activations only, and torch has no public name for it.
            y = torch._weight_int8pack_mm(rows.bfloat16(), self.weight, self.weight_scale.bfloat16())  # noqa: SLF001
            y = y.to(x.dtype)
        else:
            y = F.linear(rows, self.weight.to(x.dtype)) * self.weight_scale.to(x.dtype)
        y = y.view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias


class QuantizedEmbedding(nn.Module):
    """`nn.Embedding` over int8 weights."""

    weight: Tensor  # (V, C) int8
    weight_scale: Tensor  # (V,) fp32

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(num_embeddings, embedding_dim, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.empty(num_embeddings))

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C) in fp32."""
        return self.weight[input_ids].float() * self.weight_scale[input_ids].unsqueeze(-1)


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest int8 values of (O, I) and their scales (O,). Raises ModelError for NaN or infinity."""
    if not torch.isfinite(weight).all():
        bad = int((~torch.isfinite(weight)).sum())
        raise ModelError(f"{bad} of {weight.numel()} weights are not finite.", "Use an earlier checkpoint.")
    scale = weight.float().abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (weight.float() / scale[:, None]).round().to(torch.int8), scale


def quantize_(model: nn.Module, bits: int) -> None:
    """Replace every linear layer and embedding of a model by its quantised form, in place."""
    sources = {name: module for name, module in model.named_modules() if _is_quantisable(module)}
    prepare_for_quantized_(model, bits)
    quantised: dict[int, tuple[Tensor, Tensor]] = {}
    for name, source in sources.items():
        weight = source.weight
        assert isinstance(weight, Tensor)
        if id(weight) not in quantised:  # a tied head quantises once
            quantised[id(weight)] = quantize_weight(weight.detach())
        target = model.get_submodule(name)
        target.weight, target.weight_scale = quantised[id(weight)]
        if getattr(source, "bias", None) is not None:
            target.bias = source.bias


def prepare_for_quantized_(model: nn.Module, bits: int) -> None:
    """Put empty quantised modules in place, for weights that are loaded afterwards. Raises ModelError."""
    if bits != 8:
        raise ModelError(f"{bits}-bit weights cannot be run yet.", "Use int8.")
    device = next(model.parameters()).device
    for name, module in list(model.named_modules()):
        if _is_quantisable(module):
            with device:
                replacement = _quantised_form(module)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, replacement)


def quantization_settings(bits: int) -> dict[str, object]:
    """The `quantization_config` of our quantised folders."""
    return {"quant_method": "astrai", "bits": bits}


def _is_quantisable(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Embedding)


def _quantised_form(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Linear):
        return QuantizedLinear(module.in_features, module.out_features, bias=module.bias is not None)
    assert isinstance(module, nn.Embedding)
    return QuantizedEmbedding(module.num_embeddings, module.embedding_dim)
