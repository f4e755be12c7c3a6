"""Products of quantised matrices and rows of quantised activations.

A matrix is cut into tiles of 8 outputs, because 8 fp32 results fill a register. Memory of a tile, I inputs, one
32-byte register after the other, 4 bytes for each output:

    int8  register r holds inputs 4r … 4r+3 of each output; one fp32 scale for each output
    int4  register r holds inputs 8r … 8r+3 in the low nibbles and 8r+4 … 8r+7 in the high ones, each with 8
          added; one fp16 scale for each group of inputs and output

Four activations are spread over a register and multiplied with it, so no sum crosses lanes. Products of a group
add up in whole numbers, groups in fp32: the results do not depend on the instruction set or the threads. One row
of activations streams the weights at the speed of memory; four rows at a time reuse each register.

A matrix is described by six 64-bit words: addresses of weights, scales and bias (0: none), outputs, inputs
(filled up to whole groups), bits.
"""

from typing import NamedTuple

from core.kernels.rows import quantize, sigmoid
from core.kernels.simd import (
    Register,
    add,
    begin,
    compiled,
    end,
    entry,
    fetch_add,
    fma,
    high_nibbles,
    inlined,
    load_4_bytes,
    load_f16x8,
    load_f32x8,
    load_i8x32,
    low_nibbles,
    mul,
    multiply,
    multiply_s8,
    prefetch,
    read_i64,
    splat_f32,
    splat_i32,
    store_f32x8,
    subtract,
    to_float,
    zero_sum,
    zeros,
)

TILE = 8
MATRIX_BYTES = 48
WEIGHTS, SCALES, BIAS, OUTPUTS, INPUTS, BITS = range(0, MATRIX_BYTES, 8)
STORE, ADD = 0, 1
# So many rows of activations pass a tile before the next tile comes: they stay in the second-level cache.
ROW_BLOCK = 64
# How far ahead one row of activations asks for weights.
PREFETCH_BYTES = 2048


class Inputs(NamedTuple):
    """Quantised rows, as matrices take them."""

    values: int
    scales: int
    sums: int
    rows: int
    group: int


@inlined
def _int4_row(weights: int, scales: int, row: int, scale: int, sums: int, groups: int, group: int) -> Register:
    result = zeros()
    for _ in range(groups):
        total = zero_sum()
        for _ in range(0, group, 32):
            products = begin()
            prefetch(weights + PREFETCH_BYTES)
            prefetch(weights + PREFETCH_BYTES + 64)
            for _ in range(4):
                packed = load_i8x32(weights)
                products = multiply(products, low_nibbles(packed), load_4_bytes(row))
                products = multiply(products, high_nibbles(packed), load_4_bytes(row + 4))
                weights += 32
                row += 8
            total = end(total, products)
        total = subtract(total, splat_i32(sums))
        result = fma(to_float(total), mul(load_f16x8(scales), splat_f32(scale)), result)
        scales += 16
        scale += 4
        sums += 4
    return result


@inlined
def _int4_rows(
    weights: int, scales: int, row: int, scale: int, sums: int, groups: int, group: int
) -> tuple[Register, Register, Register, Register]:
    width, words = groups * group, groups * 4
    result0, result1, result2, result3 = zeros(), zeros(), zeros(), zeros()
    for _ in range(groups):
        total0, total1, total2, total3 = zero_sum(), zero_sum(), zero_sum(), zero_sum()
        for _ in range(0, group, 32):
            products0, products1, products2, products3 = begin(), begin(), begin(), begin()
            for _ in range(4):
                packed = load_i8x32(weights)
                low, high = low_nibbles(packed), high_nibbles(packed)
                products0 = multiply(multiply(products0, low, load_4_bytes(row)), high, load_4_bytes(row + 4))
                next_row = row + width
                products1 = multiply(multiply(products1, low, load_4_bytes(next_row)), high, load_4_bytes(next_row + 4))
                next_row += width
                products2 = multiply(multiply(products2, low, load_4_bytes(next_row)), high, load_4_bytes(next_row + 4))
                next_row += width
                products3 = multiply(multiply(products3, low, load_4_bytes(next_row)), high, load_4_bytes(next_row + 4))
                weights += 32
                row += 8
            total0, total1 = end(total0, products0), end(total1, products1)
            total2, total3 = end(total2, products2), end(total3, products3)
        factor = load_f16x8(scales)
        result0 = _scaled(total0, sums, factor, scale, result0)
        result1 = _scaled(total1, sums + words, factor, scale + words, result1)
        result2 = _scaled(total2, sums + 2 * words, factor, scale + 2 * words, result2)
        result3 = _scaled(total3, sums + 3 * words, factor, scale + 3 * words, result3)
        scales += 16
        scale += 4
        sums += 4
    return result0, result1, result2, result3


@inlined
def _scaled(total: Register, sums: int, factor: Register, scale: int, result: Register) -> Register:
    return fma(to_float(subtract(total, splat_i32(sums))), mul(factor, splat_f32(scale)), result)


@inlined
def _int8_row(weights: int, scales: int, row: int, scale: int, groups: int, group: int) -> Register:
    result = zeros()
    for _ in range(groups):
        even, odd = zero_sum(), zero_sum()
        for _ in range(0, group, 8):
            prefetch(weights + PREFETCH_BYTES)
            even = multiply_s8(even, load_i8x32(weights), load_4_bytes(row))
            odd = multiply_s8(odd, load_i8x32(weights + 32), load_4_bytes(row + 4))
            weights += 64
            row += 8
        result = fma(add(to_float(even), to_float(odd)), splat_f32(scale), result)
        scale += 4
    return mul(result, load_f32x8(scales))


@inlined
def _int8_rows(
    weights: int, scales: int, row: int, scale: int, groups: int, group: int
) -> tuple[Register, Register, Register, Register]:
    width, words = groups * group, groups * 4
    result0, result1, result2, result3 = zeros(), zeros(), zeros(), zeros()
    for _ in range(groups):
        total0, total1, total2, total3 = zero_sum(), zero_sum(), zero_sum(), zero_sum()
        for _ in range(0, group, 4):
            packed = load_i8x32(weights)
            total0 = multiply_s8(total0, packed, load_4_bytes(row))
            total1 = multiply_s8(total1, packed, load_4_bytes(row + width))
            total2 = multiply_s8(total2, packed, load_4_bytes(row + 2 * width))
            total3 = multiply_s8(total3, packed, load_4_bytes(row + 3 * width))
            weights += 32
            row += 4
        result0 = fma(to_float(total0), splat_f32(scale), result0)
        result1 = fma(to_float(total1), splat_f32(scale + words), result1)
        result2 = fma(to_float(total2), splat_f32(scale + 2 * words), result2)
        result3 = fma(to_float(total3), splat_f32(scale + 3 * words), result3)
        scale += 4
    factor = load_f32x8(scales)
    return mul(result0, factor), mul(result1, factor), mul(result2, factor), mul(result3, factor)


@compiled
def tile_row(matrix: int, tile: int, row: int, scale: int, sums: int, group: int) -> Register:
    """A tile's outputs for one row of activations."""
    inputs = read_i64(matrix + INPUTS)
    groups = inputs // group
    weights, scales = read_i64(matrix + WEIGHTS), read_i64(matrix + SCALES)
    if read_i64(matrix + BITS) == 4:
        return _int4_row(weights + tile * inputs * 4, scales + tile * groups * 16, row, scale, sums, groups, group)
    return _int8_row(weights + tile * inputs * 8, scales + tile * 32, row, scale, groups, group)


@compiled
def tile_rows(
    matrix: int, tile: int, row: int, scale: int, sums: int, group: int
) -> tuple[Register, Register, Register, Register]:
    """A tile's outputs for four rows of activations."""
    inputs = read_i64(matrix + INPUTS)
    groups = inputs // group
    weights, scales = read_i64(matrix + WEIGHTS), read_i64(matrix + SCALES)
    if read_i64(matrix + BITS) == 4:
        return _int4_rows(weights + tile * inputs * 4, scales + tile * groups * 16, row, scale, sums, groups, group)
    return _int8_rows(weights + tile * inputs * 8, scales + tile * 32, row, scale, groups, group)


@inlined
def _put(target: int, value: Register, bias: int, mode: int) -> None:
    if bias != 0:
        value = add(value, load_f32x8(bias))
    if mode == ADD:
        value = add(value, load_f32x8(target))
    store_f32x8(target, value)


@compiled
def multiply_tiles(matrix: int, first: int, last: int, inputs: Inputs, target: int, stride: int, mode: int) -> None:
    """Tiles first … last-1 of all rows into target, fp32 rows `stride` bytes apart, stored or added."""
    values, scales, sums, rows, group = inputs
    width = read_i64(matrix + INPUTS)
    words = width // group * 4
    bias = read_i64(matrix + BIAS)
    for start in range(0, rows, ROW_BLOCK):
        for tile in range(first, last):
            offset = bias + tile * 32 if bias != 0 else 0
            out = target + tile * 32
            if rows == 1:
                _put(out, tile_row(matrix, tile, values, scales, sums, group), offset, mode)
                continue
            for row in range(start, min(start + ROW_BLOCK, rows), 4):
                results = tile_rows(matrix, tile, values + row * width, scales + row * words, sums + row * words, group)
                _put(out + row * stride, results[0], offset, mode)
                _put(out + (row + 1) * stride, results[1], offset, mode)
                _put(out + (row + 2) * stride, results[2], offset, mode)
                _put(out + (row + 3) * stride, results[3], offset, mode)


@inlined
def _swiglu(gate: Register, up: Register, gate_bias: int, up_bias: int) -> Register:
    if gate_bias != 0:
        gate, up = add(gate, load_f32x8(gate_bias)), add(up, load_f32x8(up_bias))
    return mul(mul(gate, sigmoid(gate)), up)


@compiled
def gate_tiles(gate: int, up: int, first: int, last: int, inputs: Inputs, target: int, stride: int) -> None:
    """silu(gate · x) * (up · x) for tiles first … last-1 of all rows."""
    values, scales, sums, rows, group = inputs
    width = read_i64(gate + INPUTS)
    words = width // group * 4
    gate_bias, up_bias = read_i64(gate + BIAS), read_i64(up + BIAS)
    for start in range(0, rows, ROW_BLOCK):
        for tile in range(first, last):
            gate_offset = gate_bias + tile * 32 if gate_bias != 0 else 0
            up_offset = up_bias + tile * 32
            out = target + tile * 32
            if rows == 1:
                left = tile_row(gate, tile, values, scales, sums, group)
                right = tile_row(up, tile, values, scales, sums, group)
                store_f32x8(out, _swiglu(left, right, gate_offset, up_offset))
                continue
            for row in range(start, min(start + ROW_BLOCK, rows), 4):
                place = values + row * width, scales + row * words, sums + row * words
                lefts = tile_rows(gate, tile, place[0], place[1], place[2], group)
                rights = tile_rows(up, tile, place[0], place[1], place[2], group)
                store_f32x8(out + row * stride, _swiglu(lefts[0], rights[0], gate_offset, up_offset))
                store_f32x8(out + (row + 1) * stride, _swiglu(lefts[1], rights[1], gate_offset, up_offset))
                store_f32x8(out + (row + 2) * stride, _swiglu(lefts[2], rights[2], gate_offset, up_offset))
                store_f32x8(out + (row + 3) * stride, _swiglu(lefts[3], rights[3], gate_offset, up_offset))


@inlined
def padded(rows: int) -> int:
    """Rows that a matrix computes: one, or a multiple of four."""
    return 1 if rows == 1 else (rows + 3) // 4 * 4


@inlined
def chunk_tiles(tiles: int, threads: int) -> int:
    """Tiles that a thread takes at once: a sixteenth of its even share."""
    return max(1, tiles // (16 * threads))


@compiled
def share(counter: int, matrix: int, inputs: Inputs, target: int, stride: int, mode: int, threads: int) -> None:
    """Multiply by a matrix, its tiles shared among the threads."""
    tiles = (read_i64(matrix + OUTPUTS) + TILE - 1) // TILE
    size = chunk_tiles(tiles, threads)
    first = fetch_add(counter, 1) * size
    while first < tiles:
        multiply_tiles(matrix, first, min(first + size, tiles), inputs, target, stride, mode)
        first = fetch_add(counter, 1) * size


@compiled
def share_gated(counter: int, gate: int, inputs: Inputs, target: int, stride: int, threads: int) -> None:
    """silu(gate · x) * (up · x), the tiles shared among the threads."""
    tiles = (read_i64(gate + OUTPUTS) + TILE - 1) // TILE
    size = chunk_tiles(tiles, threads)
    first = fetch_add(counter, 1) * size
    while first < tiles:
        gate_tiles(gate, gate + MATRIX_BYTES, first, min(first + size, tiles), inputs, target, stride)
        first = fetch_add(counter, 1) * size


@entry
def product(matrix: int, inputs: Inputs, target: int, counter: int, threads: int, thread: int) -> None:
    """One thread's part of a single product: quantised rows times a matrix, fp32 rows filled up to tiles."""
    stride = (read_i64(matrix + OUTPUTS) + TILE - 1) // TILE * TILE * 4
    share(counter, matrix, inputs, target, stride, STORE, threads)


@entry
def round_rows(source: int, rows: int, size: int, inputs: Inputs) -> None:
    """Quantise fp32 rows; those that fill up a multiple of four stay zero."""
    width = (size + inputs.group - 1) // inputs.group * inputs.group
    words = width // inputs.group * 4
    for row in range(rows):
        quantize(
            source + row * size * 4, size, inputs.group,
            inputs.values + row * width, inputs.scales + row * words, inputs.sums + row * words,
        )  # fmt: skip
