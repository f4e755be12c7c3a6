"""One product through the kernels, and the same in float64 from the numbers that the kernels see."""

import numpy as np
import torch
from torch import Tensor

from core.kernels.matmul import Inputs, product, round_rows
from core.kernels.packing import TILE, pack
from core.kernels.team import Team
from core.model.quantize import QuantizedLinear


def quantised(weight: Tensor, *, bits: int, group: int, bias: bool = False) -> QuantizedLinear:
    layer = QuantizedLinear(weight.shape[1], len(weight), bias=bias, bits=bits, group_size=group)
    layer.fill(weight)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


def rounded(x: Tensor, group: int) -> Tensor:
    """Activations as the kernels round them, in float64."""
    width = x.shape[1]
    padded = torch.nn.functional.pad(x, (0, -width % group)).unflatten(1, (-1, group))
    scale = padded.abs().amax(dim=2, keepdim=True) / 127
    bytes_ = (padded * torch.where(scale > 0, 127 / padded.abs().amax(dim=2, keepdim=True), 0)).round()
    return (bytes_.double() * scale.double()).flatten(1)[:, :width]


def through_kernels(x: Tensor, layer: QuantizedLinear, *, threads: int = 1) -> Tensor:
    """layer(x) for x (N, I) by the compiled code."""
    packed = pack(layer.weight, layer.weight_scale, layer.bias, bits=layer.bits, group=layer.group_size)
    rows = len(x) if len(x) == 1 else -(-len(x) // 4) * 4
    groups = packed.inputs // layer.group_size
    values = torch.zeros(rows, packed.inputs, dtype=torch.int8)
    scales, sums = torch.zeros(rows, groups), torch.zeros(rows, groups, dtype=torch.int32)
    inputs = Inputs(values.data_ptr(), scales.data_ptr(), sums.data_ptr(), rows, layer.group_size)
    out = torch.zeros(rows, -(-packed.outputs // TILE) * TILE)
    table, counter = np.array(packed.words(), np.int64), np.zeros(8, np.int64)
    x = x.contiguous()
    round_rows(x.data_ptr(), len(x), x.shape[1], inputs)
    team = Team(threads)
    team.run(product, table.ctypes.data, inputs, out.data_ptr(), counter.ctypes.data, threads)
    team.close()
    return out[: len(x), : packed.outputs]
