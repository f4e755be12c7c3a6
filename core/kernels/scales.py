"""The search for the scales of int4: the trials of `core.model.quantize`, a group at a time in the first-level cache.

With importances a and the best scale for given values q of weights w, s = Σawq / Σaq², the squared error is
Σaw² - (Σawq)² / Σaq²; so the trial with the largest (Σawq)² / Σaq² wins.
"""

from typing import NamedTuple

import numpy as np

from core.kernels.simd import (
    Register,
    absolute,
    clamp,
    entry,
    fma,
    inlined,
    largest,
    load_f32x8,
    maximum,
    mul,
    nearest,
    read_f32,
    splat,
    square_root,
    total,
    write_f32,
    zeros,
)

ZERO = np.float32(0)
LOWEST, HIGHEST = np.float32(-8), np.float32(7)


class Search(NamedTuple):
    """Addresses of fp32 weights (groups, size), of the levels to try and of the scales to write."""

    weights: int
    groups: int
    size: int
    levels: int
    num_levels: int
    scales: int
    threads: int


@inlined
def _values(weights: Register, factor: Register) -> Register:
    return clamp(nearest(mul(weights, factor)), splat(LOWEST), splat(HIGHEST))


@inlined
def _peak(group: int, size: int) -> np.float32:
    """The weight of the largest magnitude, with its sign."""
    high = zeros()
    for i in range(0, size * 4, 32):
        high = maximum(high, absolute(load_f32x8(group + i)))
    bound = largest(high)
    for i in range(0, size * 4, 4):
        if abs(read_f32(group + i)) == bound:
            return read_f32(group + i)
    return ZERO


@inlined
def _mean_square(group: int, size: int) -> np.float32:
    squares = zeros()
    for i in range(0, size * 4, 32):
        row = load_f32x8(group + i)
        squares = fma(row, row, squares)
    return total(squares) / np.float32(size)


@entry
def search_scales(job: Search, thread: int) -> None:
    """The best scale of each group, of every `threads`th group from a thread's number on."""
    weights, groups, size, levels, num_levels, scales, threads = job
    for index in range(thread, groups, threads):
        group = weights + index * size * 4
        peak = _peak(group, size)
        mean = splat(_mean_square(group, size))
        best, best_scale = ZERO, ZERO
        for trial in range(num_levels):
            if peak == ZERO:
                break
            factor = splat(read_f32(levels + trial * 4) / peak)
            products, squares = zeros(), zeros()
            for i in range(0, size * 4, 32):
                row = load_f32x8(group + i)
                values = _values(row, factor)
                weighted = mul(square_root(fma(row, row, mean)), values)
                products, squares = fma(row, weighted, products), fma(values, weighted, squares)
            product, square = total(products), total(squares)
            if product * product / square > best:
                best, best_scale = product * product / square, product / square
        write_f32(scales + index * 4, best_scale)
