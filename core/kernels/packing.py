"""From quantised matrices as they are stored, row by row, to tiles as the kernels read them.

Stored: int8 (O, I) with one fp32 scale for each row; int4 as bytes (O, I/2), where each 4 bytes hold 8 inputs, the
first four in the low nibbles and the others in the high ones, with one fp16 scale for each row and group (O, I/G).
A tile is 8 rows whose 32-bit words alternate; `matmul` tells more.

An adapter's A (r, I) and B (O, r) become fp16 with one fp32 scale for each rank, which brings the largest of its values
in either to 1, so that none is too small for fp16: A as (r/4, I/8, 4, 8), B as (O/8, r, 8).

Legend: O outputs, I inputs, G group, r rank.
"""

import math
import mmap
from contextlib import suppress
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 8
RANK_STEP = 4  # ranks that the decoder projects on at once
LARGE_PAGE_BYTES = 2**21


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix in tiles; `table` is what the kernels get the address of."""

    weight: Tensor  # (O/8, I/4 or I/8, 8) int32
    scale: Tensor  # (O/8, 8) fp32, or (O/8, I/G, 8) fp16
    bias: Tensor | None  # (O filled up to 8,) fp32
    outputs: int
    inputs: int  # filled up to whole groups
    bits: int

    def words(self) -> list[int]:
        """The six words that describe it to a kernel."""
        bias = 0 if self.bias is None else self.bias.data_ptr()
        return [self.weight.data_ptr(), self.scale.data_ptr(), bias, self.outputs, self.inputs, self.bits]

    @property
    def nbytes(self) -> int:
        return self.weight.nbytes + self.scale.nbytes


def pack(weight: Tensor, scale: Tensor, bias: Tensor | None, *, bits: int, group: int) -> PackedMatrix:
    """Bring a stored matrix into tiles. Rows are filled up to 8 and inputs to whole groups, with zeros."""
    outputs, width = weight.shape
    inputs = width * 8 // bits
    padded = math.ceil(inputs / group) * group
    if padded != inputs:
        weight = F.pad(weight, (0, (padded - inputs) * bits // 8))
    tiles = _tiles(weight.view(torch.int32))
    scale = scale.float() if bits == 8 else scale.half()
    scales = _tiles(scale[:, None])[:, 0] if bits == 8 else _tiles(scale)
    if bias is not None:
        bias = F.pad(bias.detach().float(), (0, -outputs % TILE)).contiguous()
    return PackedMatrix(tiles, scales.contiguous(), bias, outputs, padded, bits)


def unpack(matrix: PackedMatrix, *, inputs: int) -> tuple[Tensor, Tensor]:
    """The stored form of a matrix with so many inputs and its scales, as `pack` was given them."""
    width = inputs if matrix.bits == 8 else matrix.inputs // 2
    dtype = torch.int8 if matrix.bits == 8 else torch.uint8
    weight = _rows(matrix.weight)[: matrix.outputs].contiguous().view(dtype)[:, :width]
    scale = matrix.scale.flatten() if matrix.bits == 8 else _rows(matrix.scale)
    return weight, scale[: matrix.outputs]


@dataclass(frozen=True, slots=True)
class PackedAdapter:
    """An adapter of one layer."""

    a: Tensor  # (r/4, I/8, 4, 8) fp16
    b: Tensor  # (O/8, r, 8) fp16
    scales: Tensor  # (r,) fp32
    gain: Tensor | None  # (O,) fp32

    def words(self) -> list[int]:
        """The seven words that describe it to the decoder."""
        gain = 0 if self.gain is None else self.gain.data_ptr()
        inputs, outputs = self.a.shape[1] * TILE, self.b.shape[0] * TILE
        addresses = [self.a.data_ptr(), self.b.data_ptr(), self.scales.data_ptr(), gain]
        return [*addresses, self.b.shape[1], inputs, outputs]


def pack_adapter(a: Tensor, b: Tensor, gain: Tensor | None) -> PackedAdapter:
    """Bring A (r, I) and B (O, r), I and O multiples of 8, into the form of the kernels."""
    tops = a.abs().amax(dim=1), b.abs().amax(dim=0)
    highs = [torch.where(top > 0, top, 1.0) for top in tops]
    missing = -len(a) % RANK_STEP
    half_a = F.pad((a / highs[0][:, None]).half(), (0, 0, 0, missing))
    half_b = F.pad((b / highs[1]).half(), (0, missing))
    return PackedAdapter(
        a=half_a.view(-1, RANK_STEP, a.shape[1] // TILE, TILE).transpose(1, 2).contiguous(),
        b=half_b.view(-1, TILE, half_b.shape[1]).transpose(1, 2).contiguous(),
        scales=F.pad(highs[0] * highs[1], (0, missing)).contiguous(),
        gain=None if gain is None else gain.float().contiguous(),
    )


def _rows(tiles: Tensor) -> Tensor:
    """(O/8, W, 8) -> (O, W)."""
    return tiles.transpose(1, 2).reshape(-1, tiles.shape[1])


def _tiles(rows: Tensor) -> Tensor:
    """(O, W) -> (O/8, W, 8)."""
    missing = -len(rows) % TILE
    if missing:
        rows = F.pad(rows, (0, 0, 0, missing))
    tiles = rows.view(-1, TILE, rows.shape[1]).transpose(1, 2)
    return _empty(tiles.shape, tiles.dtype).copy_(tiles)


def _empty(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Memory for a matrix, in pages of 2 MB where the system has them: reading it is a tenth faster so."""
    num_bytes = shape.numel() * dtype.itemsize
    if num_bytes < LARGE_PAGE_BYTES or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype)
    # Private, since the system gives shared memory large pages by another switch, which is mostly off.
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    memory = mmap.mmap(-1, math.ceil(num_bytes / LARGE_PAGE_BYTES) * LARGE_PAGE_BYTES, flags=flags)
    with suppress(OSError):  # a kernel without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype, count=shape.numel()).view(shape)
