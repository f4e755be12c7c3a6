"""What happens to one row of activations between the matrices: norm, rounding to bytes, rotation, SiLU.

Activations are rounded in groups: 8-bit values -127…127, one fp32 scale for a group and, for nibbles that are
stored with 8 added, eight times the sum of its bytes. A group that holds NaN or infinity gets a scale of NaN, so
that damage reaches the logits, where it is found.

Legend: C length of a row, G group. Sources: Zhang & Sennrich 2019 (RMSNorm); Su et al. 2021 (RoPE); the
polynomial of 2ˣ is Cephes' expf.
"""

import numpy as np

from core.kernels.simd import (
    Register,
    absolute,
    add,
    clamp,
    compiled,
    div,
    fma,
    inlined,
    largest,
    load_f32x8,
    maximum,
    mul,
    nearest,
    power_of_two,
    splat,
    store_f32x8,
    store_rounded_s8x8,
    sub,
    total,
    write_f32,
    write_i32,
    zeros,
)

LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP_RANGE = np.float32(87.0)
POLYNOMIAL = tuple(
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
)
ONE, ZERO, BYTE = np.float32(1.0), np.float32(0.0), np.float32(127.0)


@inlined
def exp(x: Register) -> Register:
    """eˣ of each lane, to 2 units in the last place; beyond ±87 it stays at the bound."""
    x = clamp(x, splat(-EXP_RANGE), splat(EXP_RANGE))
    n = nearest(mul(x, splat(LOG2_E)))
    x = fma(n, splat(-LN2_LOW), fma(n, splat(-LN2_HIGH), x))
    y = splat(POLYNOMIAL[0])
    y = fma(y, x, splat(POLYNOMIAL[1]))
    y = fma(y, x, splat(POLYNOMIAL[2]))
    y = fma(y, x, splat(POLYNOMIAL[3]))
    y = fma(y, x, splat(POLYNOMIAL[4]))
    y = fma(y, x, splat(POLYNOMIAL[5]))
    y = fma(mul(y, x), x, add(x, splat(ONE)))
    return mul(y, power_of_two(n))


@inlined
def sigmoid(x: Register) -> Register:
    return div(splat(ONE), add(splat(ONE), exp(sub(zeros(), x))))


@compiled
def normalize(source: int, target: int, weight: int, size: int, eps: np.float32) -> None:
    """target = source / rms(source) * weight, all fp32; a multiple of 8 long. source may be target."""
    squares = zeros()
    for i in range(0, size * 4, 32):
        x = load_f32x8(source + i)
        squares = fma(x, x, squares)
    scale = splat(ONE / np.sqrt(total(squares) / np.float32(size) + eps))
    for i in range(0, size * 4, 32):
        store_f32x8(target + i, mul(mul(load_f32x8(source + i), scale), load_f32x8(weight + i)))


@compiled
def quantize(source: int, size: int, group: int, values: int, scales: int, sums: int) -> None:
    """Round a row of fp32, a multiple of 8 long, to bytes; the last group is filled up with zeros."""
    for start in range(0, size, group):
        end = min(start + group, size)
        peak = zeros()
        for i in range(start, end, 8):
            peak = maximum(peak, absolute(load_f32x8(source + i * 4)))
        high = largest(peak)
        scale = high / BYTE
        factor = splat(BYTE / high if high > ZERO else ZERO)
        count = 0
        for i in range(start, end, 8):
            count += store_rounded_s8x8(values + i, mul(load_f32x8(source + i * 4), factor))
        for i in range(end, start + group, 8):
            store_rounded_s8x8(values + i, zeros())
        index = start // group * 4
        write_f32(scales + index, scale if high < np.inf else np.float32(np.nan))
        write_i32(sums + index, 8 * count)


@compiled
def rotate(head: int, size: int, cos: int, sin: int) -> None:
    """Turn the pairs (i, i + size/2) of one head by its position's angles; size is a multiple of 16."""
    half = size // 2 * 4
    for i in range(0, half, 32):
        c, s = load_f32x8(cos + i), load_f32x8(sin + i)
        first, second = load_f32x8(head + i), load_f32x8(head + half + i)
        store_f32x8(head + i, sub(mul(first, c), mul(second, s)))
        store_f32x8(head + half + i, fma(second, c, mul(first, s)))
