"""What adapters change in a step: y = W x + c of one layer becomes g ∘ W x + B A x + c for the rows that have one.

A x is computed beside W x and by the same threads, then its part of the outputs is added by each. The rows of a step
can have different adapters, or none. `core.kernels.packing` tells the form of A and B, `core.kernels.layout` that of
their tables.

Legend: N rows, I inputs, O outputs, r rank.
"""

from core.kernels.layout import (
    ADAPTED_A,
    ADAPTED_B,
    ADAPTED_BYTES,
    ADAPTED_GAINS,
    ADAPTED_INPUTS,
    ADAPTED_RANK,
    ADAPTED_SCALES,
    NUM_ADAPTED,
    PROJECTIONS,
    Step,
)
from core.kernels.matmul import BIAS, OUTPUTS, PREFETCH_BYTES, TILE
from core.kernels.packing import RANK_STEP
from core.kernels.simd import (
    add,
    compiled,
    fma,
    inlined,
    load_f16x8,
    load_f32x8,
    mul,
    prefetch,
    read_f32,
    read_i64,
    splat_f32,
    store_f32x8,
    sub,
    total,
    write_f32,
    zeros,
)


@inlined
def adapter_entry(step: Step, layer: int, which: int, row: int) -> int:
    """What the row's adapter does to one layer, 0 if nothing."""
    table = read_i64(step.adapters + read_i64(step.row_sequences + row * 8) * 8)
    if table == 0:
        return 0
    entry = table + (layer * NUM_ADAPTED + which) * ADAPTED_BYTES
    return entry if read_i64(entry + ADAPTED_RANK) > 0 else 0


@compiled
def project(step: Step, layer: int, first: int, count: int, source: int, thread: int) -> None:
    """A x of `count` layers from `first` on with the same inputs, fp32 rows (N, I): a thread's share of the ranks."""
    unit = 0
    for row in range(step.rows):
        for number in range(count):
            entry = adapter_entry(step, layer, first + number, row)
            if entry == 0:
                continue
            inputs = read_i64(entry + ADAPTED_INPUTS) * 4
            a, scales = read_i64(entry + ADAPTED_A), read_i64(entry + ADAPTED_SCALES)
            target = step.projected + (row * PROJECTIONS + number) * step.projected_bytes
            for start in range(0, read_i64(entry + ADAPTED_RANK) * 4, RANK_STEP * 4):
                unit += 1
                if unit % step.threads == thread:
                    project_ranks(
                        a + start * inputs // 8, source + row * inputs, inputs, scales + start, target + start
                    )


@compiled
def project_ranks(a: int, x: int, inputs: int, scales: int, target: int) -> None:
    """RANK_STEP ranks of A times x; `inputs` in bytes."""
    sum0, sum1, sum2, sum3 = zeros(), zeros(), zeros(), zeros()
    for i in range(0, inputs, 32):
        states = load_f32x8(x + i)
        prefetch(a + PREFETCH_BYTES)
        sum0 = fma(load_f16x8(a), states, sum0)
        sum1 = fma(load_f16x8(a + 16), states, sum1)
        sum2 = fma(load_f16x8(a + 32), states, sum2)
        sum3 = fma(load_f16x8(a + 48), states, sum3)
        a += 64
    write_f32(target, total(sum0) * read_f32(scales))
    write_f32(target + 4, total(sum1) * read_f32(scales + 4))
    write_f32(target + 8, total(sum2) * read_f32(scales + 8))
    write_f32(target + 12, total(sum3) * read_f32(scales + 12))


@compiled
def adapt(
    step: Step, layer: int, which: int, number: int, matrix: int, source: int, target: int, stride: int, thread: int
) -> None:
    """Turn a thread's share of one layer's outputs into those with the adapter: gain ∘ W x + B A x + bias.

    They are fp32 rows, `stride` bytes apart, and stay where they are or, if source is not target, are added there.
    """
    tiles = (read_i64(matrix + OUTPUTS) + TILE - 1) // TILE
    begin, end = tiles * thread // step.threads * 32, tiles * (thread + 1) // step.threads * 32
    bias = read_i64(matrix + BIAS)
    for row in range(step.rows):
        entry = adapter_entry(step, layer, which, row)
        if entry == 0 and source == target:
            continue
        rank, gains, b = 0, 0, 0
        if entry != 0:
            rank, gains, b = (
                read_i64(entry + ADAPTED_RANK),
                read_i64(entry + ADAPTED_GAINS),
                read_i64(entry + ADAPTED_B),
            )
        projected = step.projected + (row * PROJECTIONS + number) * step.projected_bytes
        b += begin * rank // 2
        for i in range(begin, end, 32):
            result = load_f32x8(source + row * stride + i)
            if gains != 0:
                if bias != 0:
                    result = sub(result, load_f32x8(bias + i))
                result = mul(result, load_f32x8(gains + i))
                if bias != 0:
                    result = add(result, load_f32x8(bias + i))
            for place in range(projected, projected + rank * 4, 4):
                result = fma(load_f16x8(b), splat_f32(place), result)
                b += 16
            if source != target:
                result = add(result, load_f32x8(target + row * stride + i))
            store_f32x8(target + row * stride + i, result)
