"""Attention of a few queries over a paged cache, in one pass with a running maximum.

The cache of a layer is in blocks of 32 positions. For each kv head a block holds its keys as (D, 32), so that a
register is one dimension of 8 keys, and its values as (32, D). Elements are fp16, or int8 with an fp32 scale for
each key and value. Queries are taken four at a time: every key and value that is read serves four of them, and
the heads of a group share them all. A query's result does not depend on the others.

Legend: D head dim. Source: Milakov & Gimelshein 2018 (online softmax).
"""

import numpy as np

from core.kernels.rows import exp
from core.kernels.simd import (
    Register,
    absolute,
    compiled,
    div,
    fma,
    inlined,
    largest,
    load_f16x8,
    load_f32x8,
    load_s8x8,
    maximum,
    mul,
    read_f32,
    splat,
    splat_f32,
    store_f16x8,
    store_f32x8,
    store_rounded_s8x8,
    sub,
    total,
    write_f16,
    write_f32,
    write_rounded_s8,
    zeros,
)

BLOCK = 32
NEVER = np.float32(-1e30)
ZERO, BYTE = np.float32(0.0), np.float32(127.0)


def block_bytes(head_dim: int, element_bytes: int) -> int:
    """Bytes of one kv head's keys, or values, in a block: the elements, then for int8 the scales."""
    return BLOCK * head_dim * element_bytes + (BLOCK * 4 if element_bytes == 1 else 0)


@inlined
def _load(address: int, element_bytes: int) -> Register:
    return load_f16x8(address) if element_bytes == 2 else load_s8x8(address)


@compiled
def store_key(source: int, block: int, slot: int, head_dim: int, element_bytes: int) -> None:
    """Put one head's fp32 key into a block."""
    if element_bytes == 2:
        for i in range(head_dim):
            write_f16(block + (i * BLOCK + slot) * 2, read_f32(source + i * 4))
        return
    factor = _scale(source, head_dim, block + head_dim * BLOCK + slot * 4)
    for i in range(head_dim):
        write_rounded_s8(block + i * BLOCK + slot, read_f32(source + i * 4) * factor)


@compiled
def store_value(source: int, block: int, slot: int, head_dim: int, element_bytes: int) -> None:
    """Put one head's fp32 value into a block."""
    target = block + slot * head_dim * element_bytes
    if element_bytes == 2:
        for i in range(0, head_dim, 8):
            store_f16x8(target + i * 2, load_f32x8(source + i * 4))
        return
    factor = splat(_scale(source, head_dim, block + head_dim * BLOCK + slot * 4))
    for i in range(0, head_dim, 8):
        store_rounded_s8x8(target + i, mul(load_f32x8(source + i * 4), factor))


@inlined
def _scale(source: int, head_dim: int, target: int) -> np.float32:
    """Write the scale of a vector that becomes bytes; return what to multiply it with."""
    peak = zeros()
    for i in range(0, head_dim, 8):
        peak = maximum(peak, absolute(load_f32x8(source + i * 4)))
    high = largest(peak)
    write_f32(target, high / BYTE)
    return BYTE / high if high > ZERO else ZERO


@compiled
def scores(queries: int, keys: int, head_dim: int, element_bytes: int, target: int) -> None:
    """Four queries (4, D) times a block of keys: fp32 (4, 32)."""
    width = head_dim * 4
    for start in range(0, BLOCK, 16):
        s00, s01, s10, s11 = zeros(), zeros(), zeros(), zeros()
        s20, s21, s30, s31 = zeros(), zeros(), zeros(), zeros()
        key, query = keys + start * element_bytes, queries
        for _ in range(head_dim):
            k0, k1 = _load(key, element_bytes), _load(key + 8 * element_bytes, element_bytes)
            q = splat_f32(query)
            s00, s01 = fma(q, k0, s00), fma(q, k1, s01)
            q = splat_f32(query + width)
            s10, s11 = fma(q, k0, s10), fma(q, k1, s11)
            q = splat_f32(query + 2 * width)
            s20, s21 = fma(q, k0, s20), fma(q, k1, s21)
            q = splat_f32(query + 3 * width)
            s30, s31 = fma(q, k0, s30), fma(q, k1, s31)
            key += BLOCK * element_bytes
            query += 4
        if element_bytes == 1:
            scales = keys + head_dim * BLOCK + start * 4
            k0, k1 = load_f32x8(scales), load_f32x8(scales + 32)
            s00, s01, s10, s11 = mul(s00, k0), mul(s01, k1), mul(s10, k0), mul(s11, k1)
            s20, s21, s30, s31 = mul(s20, k0), mul(s21, k1), mul(s30, k0), mul(s31, k1)
        out = target + start * 4
        store_f32x8(out, s00)
        store_f32x8(out + 32, s01)
        store_f32x8(out + BLOCK * 4, s10)
        store_f32x8(out + BLOCK * 4 + 32, s11)
        store_f32x8(out + BLOCK * 8, s20)
        store_f32x8(out + BLOCK * 8 + 32, s21)
        store_f32x8(out + BLOCK * 12, s30)
        store_f32x8(out + BLOCK * 12 + 32, s31)


@inlined
def mask(row: int, first: int, last: int) -> None:
    """Keep the scores first … last of a row (32,), the others become impossible."""
    for i in range(max(0, min(first, BLOCK))):
        write_f32(row + i * 4, NEVER)
    for i in range(max(last + 1, 0), BLOCK):
        write_f32(row + i * 4, NEVER)


@inlined
def soften(row: int, high: int, mass: int) -> np.float32:
    """Scores (32,) to unnormalised probabilities; update the row's maximum and mass.

    Returns the factor for what was summed under the old maximum.
    """
    s0, s1, s2, s3 = load_f32x8(row), load_f32x8(row + 32), load_f32x8(row + 64), load_f32x8(row + 96)
    before = read_f32(high)
    now = max(before, largest(maximum(maximum(s0, s1), maximum(s2, s3))))
    level = splat(now)
    s0, s1, s2, s3 = exp(sub(s0, level)), exp(sub(s1, level)), exp(sub(s2, level)), exp(sub(s3, level))
    store_f32x8(row, s0)
    store_f32x8(row + 32, s1)
    store_f32x8(row + 64, s2)
    store_f32x8(row + 96, s3)
    factor = np.exp(before - now)
    write_f32(high, now)
    write_f32(mass, read_f32(mass) * factor + (total(s0) + total(s1)) + (total(s2) + total(s3)))
    return factor


@compiled
def gather(weights: int, factors: int, values: int, keys: int, head_dim: int, element_bytes: int, sums: int) -> None:
    """sums (4, D) = sums * factors + weights (4, 32) times the first `keys` values of a block."""
    width = head_dim * 4
    f0, f1, f2, f3 = splat_f32(factors), splat_f32(factors + 4), splat_f32(factors + 8), splat_f32(factors + 12)
    for i in range(0, head_dim, 16):
        out = sums + i * 4
        s00, s01 = mul(load_f32x8(out), f0), mul(load_f32x8(out + 32), f0)
        s10, s11 = mul(load_f32x8(out + width), f1), mul(load_f32x8(out + width + 32), f1)
        s20, s21 = mul(load_f32x8(out + 2 * width), f2), mul(load_f32x8(out + 2 * width + 32), f2)
        s30, s31 = mul(load_f32x8(out + 3 * width), f3), mul(load_f32x8(out + 3 * width + 32), f3)
        value, weight = values + i * element_bytes, weights
        for _ in range(keys):
            v0, v1 = _load(value, element_bytes), _load(value + 8 * element_bytes, element_bytes)
            w = splat_f32(weight)
            s00, s01 = fma(w, v0, s00), fma(w, v1, s01)
            w = splat_f32(weight + BLOCK * 4)
            s10, s11 = fma(w, v0, s10), fma(w, v1, s11)
            w = splat_f32(weight + BLOCK * 8)
            s20, s21 = fma(w, v0, s20), fma(w, v1, s21)
            w = splat_f32(weight + BLOCK * 12)
            s30, s31 = fma(w, v0, s30), fma(w, v1, s31)
            value += head_dim * element_bytes
            weight += 4
        store_f32x8(out, s00)
        store_f32x8(out + 32, s01)
        store_f32x8(out + width, s10)
        store_f32x8(out + width + 32, s11)
        store_f32x8(out + 2 * width, s20)
        store_f32x8(out + 2 * width + 32, s21)
        store_f32x8(out + 3 * width, s30)
        store_f32x8(out + 3 * width + 32, s31)


@inlined
def weigh(row: int, scales: int) -> None:
    """Multiply probabilities (32,) by the scales of int8 values."""
    for i in range(0, BLOCK * 4, 32):
        store_f32x8(row + i, mul(load_f32x8(row + i), load_f32x8(scales + i)))


@inlined
def divide(source: int, mass: int, size: int, target: int) -> None:
    """target = source / mass for one row of sums."""
    whole = splat_f32(mass)
    for i in range(0, size * 4, 32):
        store_f32x8(target + i, div(load_f32x8(source + i), whole))
