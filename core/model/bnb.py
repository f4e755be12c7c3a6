"""8- and 4-bit weights through bitsandbytes: its kernels, its formats, the blocks' matrices alone.

int8 is LLM.int8() with outliers apart, int4 is NF4 computed in the model's type. Embedding and head stay as they
are. The same code runs on a CPU, slowly. Sources: Dettmers et al. 2022 (LLM.int8()), 2023 (QLoRA, NF4).
"""

from typing import Any

import torch
from torch import Tensor, nn

from core.errors import ConfigError
from core.model.transformer import Transformer

# Activations beyond this magnitude are multiplied in floating point (LLM.int8()).
OUTLIER_THRESHOLD = 6.0
NF4_BLOCK = 64  # weights with one scale


def load_bitsandbytes(remedy: str) -> Any:
    """The library. Raises ConfigError with this remedy where it does not load."""
    try:
        import bitsandbytes
    except (ImportError, OSError, RuntimeError) as exc:  # missing, or without the CUDA libraries that it links
        raise ConfigError(f"bitsandbytes does not load here ({type(exc).__name__}: {exc}).", remedy) from exc
    return bitsandbytes


def quantize_with_bitsandbytes_(model: Transformer, bits: int) -> None:
    """Replace the linear layers of all blocks, in place and where they are. Raises ConfigError without the library.

    In 4 bits on a CPU a layer whose inputs are not whole blocks stays as it is: the library's code for AVX-512 takes
    the scales of other blocks for its weights.
    """
    bitsandbytes = load_bitsandbytes("Load with quantization none.")
    device, dtype = model.model.norm.weight.device, model.model.norm.weight.dtype
    for name, linear in list(model.model.layers.named_modules()):
        if not isinstance(linear, nn.Linear) or (bits == 4 and not _fits_nf4(linear, device)):
            continue
        sizes, has_bias = (linear.in_features, linear.out_features), linear.bias is not None
        weight = linear.weight.detach()
        if bits == 8:
            layer = bitsandbytes.nn.Linear8bitLt(
                *sizes, bias=has_bias, has_fp16_weights=False, threshold=OUTLIER_THRESHOLD
            )
            layer.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
        else:
            layer = bitsandbytes.nn.Linear4bit(*sizes, bias=has_bias, compute_dtype=dtype, quant_type="nf4")
            layer.weight = bitsandbytes.nn.Params4bit(
                weight, requires_grad=False, quant_type="nf4", blocksize=NF4_BLOCK
            )
            # With AVX512-BF16 its first answer would put the codes into another order and the scales into bfloat16,
            # for good: what trains or merges after it would read them wrong, and outputs that 32 does not divide fail.
            layer.support_avx512bf16_for_cpu = False
        layer.bias = linear.bias
        parent, _, child = name.rpartition(".")
        setattr(model.model.layers.get_submodule(parent), child, layer.to(device))


def _fits_nf4(linear: nn.Linear, device: torch.device) -> bool:
    return device.type != "cpu" or linear.in_features % NF4_BLOCK == 0


def dequantized_nf4(layer: nn.Linear) -> Tensor:
    """The weights (O, I) of a layer that bitsandbytes holds in 4 bits."""
    from bitsandbytes.functional import dequantize_4bit

    weight: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)  # type: ignore[attr-defined]
    return weight
