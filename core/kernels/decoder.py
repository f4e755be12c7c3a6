"""One step of a quantised decoder: token ids to logits, in one compiled function that a team of threads runs.

Every thread walks through the same phases and waits for the others between them. Rows are dealt out; tiles of
matrices and attention's pieces are taken from a shared counter, so a thread that the system held up takes fewer.
A step holds rows of several sequences at once: parts of prompts beside single new tokens.

Legend: N rows, C hidden, H query heads, K kv heads, D head dim, F feed-forward, V vocabulary, L layers.
"""

import numpy as np

from core.kernels.adapters import adapt, project
from core.kernels.attention import (
    BLOCK,
    NEVER,
    divide,
    gather,
    mask,
    scores,
    soften,
    store_key,
    store_value,
    weigh,
)
from core.kernels.layout import (
    ADAPTED_DOWN,
    ADAPTED_GATE,
    ADAPTED_K,
    ADAPTED_OUT,
    ADAPTED_Q,
    ADAPTED_UP,
    ADAPTED_V,
    AFTER_ROPE,
    COUNTERS_PER_LAYER,
    DOWN,
    GATE,
    GATE_ATTENTION,
    INPUT_NORM,
    K_NORM,
    LAYER_BYTES,
    LINE_BYTES,
    OUT,
    PIECE_BYTES,
    POST_NORM,
    Q_NORM,
    SEQUENCE_BYTES,
    SPINS_BEFORE_GIVING_WAY,
    UP,
    K,
    Model,
    Q,
    Step,
    V,
)
from core.kernels.matmul import (
    ADD,
    BITS,
    INPUTS,
    OUTPUTS,
    SCALES,
    STORE,
    TILE,
    WEIGHTS,
    Inputs,
    padded,
    share,
    share_gated,
)
from core.kernels.rows import normalize, quantize, rotate, sigmoid
from core.kernels.simd import (
    compiled,
    entry,
    fetch_add,
    give_way,
    inlined,
    load_f32x8,
    load_shared,
    mul,
    pause,
    read_f16,
    read_f32,
    read_i64,
    read_s8,
    splat,
    store_f32x8,
    store_shared,
    write_f32,
    zeros,
)


@inlined
def wait(sync: int, threads: int, turn: int) -> int:
    """Wait until all threads are here for the `turn`th time; return the next turn."""
    if threads == 1:
        return turn
    if fetch_add(sync, 1) + 1 == turn * threads:
        store_shared(sync + LINE_BYTES, turn)
        return turn + 1
    spins = 0
    while load_shared(sync + LINE_BYTES) < turn:
        pause()
        spins += 1
        if spins % SPINS_BEFORE_GIVING_WAY == 0:
            give_way()
    return turn + 1


@compiled
def read_row(matrix: int, row: int, size: int, group: int, target: int) -> None:
    """One output's weights as fp32: a token's embedding."""
    inputs, tile, lane = read_i64(matrix + INPUTS), row // TILE, row % TILE
    weights, scales = read_i64(matrix + WEIGHTS), read_i64(matrix + SCALES)
    if read_i64(matrix + BITS) == 8:
        scale = read_f32(scales + row * 4)
        base = weights + tile * inputs * 8 + lane * 4
        for i in range(size):
            write_f32(target + i * 4, np.float32(read_s8(base + i // 4 * 32 + i % 4)) * scale)
        return
    base = weights + tile * inputs * 4 + lane * 4
    scale_base = scales + (tile * (inputs // group) * TILE + lane) * 2
    for i in range(size):
        packed = read_s8(base + i // 8 * 32 + i % 4)
        nibble = (packed >> 4 if i % 8 >= 4 else packed) & 15
        write_f32(target + i * 4, np.float32(nibble - 8) * read_f16(scale_base + i // group * TILE * 2))


@inlined
def head_place(model: Model, step: Step, layer: int, sequence: int, position: int) -> int:
    """Where the keys of the first kv head lie in the block that holds a position."""
    table = read_i64(step.sequences + sequence * SEQUENCE_BYTES + 16)
    block = read_i64(table + position // BLOCK * 8)
    return model.cache + layer * model.cache_layer_bytes + block * model.kv_heads * model.cache_head_bytes


@compiled
def prepare_row(model: Model, step: Step, layer: int, row: int, stride: int) -> None:
    """Normalise and rotate one row's queries and keys, and put keys and values into the cache."""
    table = model.table + layer * LAYER_BYTES
    position = read_i64(step.positions + row * 8)
    angle = position * model.head_dim * 2
    cos, sin = model.cos + angle, model.sin + angle
    head_bytes = model.head_dim * 4
    start = step.qkv + row * stride
    for head in range(model.heads + model.kv_heads):
        place = start + head * head_bytes
        norm = read_i64(table + (Q_NORM if head < model.heads else K_NORM))
        if model.qk_norm == 1:
            normalize(place, place, norm, model.head_dim, model.eps)
        rotate(place, model.head_dim, cos, sin)
        if model.qk_norm == AFTER_ROPE:
            normalize(place, place, norm, model.head_dim, model.eps)
    block = head_place(model, step, layer, read_i64(step.row_sequences + row * 8), position)
    slot = position % BLOCK
    keys = start + model.heads * head_bytes
    values = keys + model.kv_heads * head_bytes
    for head in range(model.kv_heads):
        target = block + head * model.cache_head_bytes
        store_key(keys + head * head_bytes, target, slot, model.head_dim, model.element_bytes)
        target += model.cache_half_bytes
        store_value(values + head * head_bytes, target, slot, model.head_dim, model.element_bytes)


@compiled
def attend(model: Model, step: Step, layer: int, piece: int, kv_head: int, scratch: int) -> None:
    """One piece's queries of one kv head over their sequence's cache, into `mixed`."""
    place = step.pieces + piece * PIECE_BYTES
    sequence, first_row, count = read_i64(place), read_i64(place + 8), read_i64(place + 16)
    groups, dim = model.heads // model.kv_heads, model.head_dim
    rows = (count * groups + 3) // 4 * 4
    queries = scratch
    sums = queries + rows * dim * 4
    highs = sums + rows * dim * 4
    masses, factors, weights = highs + rows * 4, highs + rows * 8, highs + rows * 8 + 32
    stride = qkv_stride(model)
    scale = splat(np.float32(1.0) / np.sqrt(np.float32(dim)))
    for row in range(rows):
        source = step.qkv + (first_row + row // groups) * stride + (kv_head * groups + row % groups) * dim * 4
        for i in range(0, dim * 4, 32):
            store_f32x8(
                queries + row * dim * 4 + i, mul(load_f32x8(source + i), scale) if row < count * groups else zeros()
            )
            store_f32x8(sums + row * dim * 4 + i, zeros())
        write_f32(highs + row * 4, NEVER)
        write_f32(masses + row * 4, np.float32(0.0))
    start = read_i64(step.positions + first_row * 8)
    last = start + count - 1
    oldest = max(0, start - model.window + 1) if model.window > 0 else 0
    for index in range(oldest // BLOCK, last // BLOCK + 1):
        keys = head_place(model, step, layer, sequence, index * BLOCK) + kv_head * model.cache_head_bytes
        values = keys + model.cache_half_bytes
        held = min(BLOCK, last + 1 - index * BLOCK)
        for row in range(0, rows, 4):
            scores(queries + row * dim * 4, keys, dim, model.element_bytes, weights)
            for i in range(4):
                here = start + min(row + i, count * groups - 1) // groups - index * BLOCK
                earliest = here - model.window + 1 if model.window > 0 else 0
                line = weights + i * BLOCK * 4
                mask(line, earliest, here)
                at = (row + i) * 4
                write_f32(factors + i * 4, soften(line, highs + at, masses + at))
                if model.element_bytes == 1:
                    weigh(line, values + dim * BLOCK)
            gather(weights, factors, values, held, dim, model.element_bytes, sums + row * dim * 4)
    for row in range(count * groups):
        target = (first_row + row // groups) * model.heads + kv_head * groups + row % groups
        divide(sums + row * dim * 4, masses + row * 4, dim, step.mixed + target * dim * 4)


@inlined
def qkv_stride(model: Model) -> int:
    """Bytes of one row of queries, keys, values and, where there is one, the gate."""
    gate = read_i64(model.table + GATE_ATTENTION + OUTPUTS)
    return ((model.heads + 2 * model.kv_heads) * model.head_dim + gate) * 4


@compiled
def round_row(step: Step, row: int, source: int, size: int, group: int) -> None:
    """Quantise one row for the next matrix."""
    groups = (size + group - 1) // group
    place = row * groups
    quantize(source, size, group, step.values + place * group, step.scales + place * 4, step.sums + place * 4)


@compiled
def mix_tokens(model: Model, step: Step, layer: int, thread: int, counter: int, turn: int) -> int:
    """x += attention(norm(x)); returns the next turn."""
    table = model.table + layer * LAYER_BYTES
    inputs = Inputs(step.values, step.scales, step.sums, padded(step.rows), model.group)
    stride, width = qkv_stride(model), model.heads * model.head_dim
    for row in range(thread, step.rows, step.threads):
        normed = step.normed + row * model.hidden * 4
        normalize(step.x + row * model.hidden * 4, normed, read_i64(table + INPUT_NORM), model.hidden, model.eps)
        round_row(step, row, normed, model.hidden, model.group)
    turn = wait(step.sync, step.threads, turn)
    if step.adapters != 0:
        project(step, layer, ADAPTED_Q, 3, step.normed, thread)
    target = step.qkv
    for matrix in (Q, K, V, GATE_ATTENTION):
        share(counter, table + matrix, inputs, target, stride, STORE, step.threads)
        target += read_i64(table + matrix + OUTPUTS) * 4
        counter += LINE_BYTES
    turn = wait(step.sync, step.threads, turn)
    if step.adapters != 0:
        keys = step.qkv + width * 4
        values = keys + model.kv_heads * model.head_dim * 4
        adapt(step, layer, ADAPTED_Q, 0, table + Q, step.qkv, step.qkv, stride, thread)
        adapt(step, layer, ADAPTED_K, 1, table + K, keys, keys, stride, thread)
        adapt(step, layer, ADAPTED_V, 2, table + V, values, values, stride, thread)
        turn = wait(step.sync, step.threads, turn)
    for row in range(thread, step.rows, step.threads):
        prepare_row(model, step, layer, row, stride)
    turn = wait(step.sync, step.threads, turn)
    scratch = step.scratch + thread * step.scratch_bytes
    unit = fetch_add(counter, 1)
    while unit < step.num_pieces * model.kv_heads:
        attend(model, step, layer, unit // model.kv_heads, unit % model.kv_heads, scratch)
        unit = fetch_add(counter, 1)
    turn = wait(step.sync, step.threads, turn)
    for row in range(thread, step.rows, step.threads):
        mixed = step.mixed + row * width * 4
        if read_i64(table + GATE_ATTENTION + OUTPUTS) > 0:
            gate = step.qkv + (row + 1) * stride - width * 4
            for i in range(0, width * 4, 32):
                store_f32x8(mixed + i, mul(load_f32x8(mixed + i), sigmoid(load_f32x8(gate + i))))
        round_row(step, row, mixed, width, model.group)
    turn = wait(step.sync, step.threads, turn)
    return add_product(model, step, layer, ADAPTED_OUT, step.mixed, thread, counter + LINE_BYTES, turn)


@compiled
def add_product(
    model: Model, step: Step, layer: int, which: int, source: int, thread: int, counter: int, turn: int
) -> int:
    """x += the matrix OUT or DOWN of the rounded rows, which in fp32 are at source; returns the next turn."""
    matrix = model.table + layer * LAYER_BYTES + (OUT if which == ADAPTED_OUT else DOWN)
    inputs = Inputs(step.values, step.scales, step.sums, padded(step.rows), model.group)
    stride = model.hidden * 4
    if step.adapters == 0:
        share(counter, matrix, inputs, step.x, stride, ADD, step.threads)
        return wait(step.sync, step.threads, turn)
    project(step, layer, which, 1, source, thread)
    share(counter, matrix, inputs, step.gate, stride, STORE, step.threads)
    turn = wait(step.sync, step.threads, turn)
    adapt(step, layer, which, 0, matrix, step.gate, step.x, stride, thread)
    return wait(step.sync, step.threads, turn)


@compiled
def feed_forward(model: Model, step: Step, layer: int, thread: int, counter: int, turn: int) -> int:
    """x += down(silu(gate(norm(x))) * up(norm(x))); returns the next turn."""
    table = model.table + layer * LAYER_BYTES
    inputs = Inputs(step.values, step.scales, step.sums, padded(step.rows), model.group)
    for row in range(thread, step.rows, step.threads):
        normed = step.normed + row * model.hidden * 4
        normalize(step.x + row * model.hidden * 4, normed, read_i64(table + POST_NORM), model.hidden, model.eps)
        round_row(step, row, normed, model.hidden, model.group)
    turn = wait(step.sync, step.threads, turn)
    width = model.feed_forward * 4
    if step.adapters == 0:
        share_gated(counter, table + GATE, inputs, step.inner, width, step.threads)
        turn = wait(step.sync, step.threads, turn)
    else:
        project(step, layer, ADAPTED_GATE, 2, step.normed, thread)
        share(counter, table + GATE, inputs, step.gate, width, STORE, step.threads)
        share(counter + LINE_BYTES, table + UP, inputs, step.inner, width, STORE, step.threads)
        turn = wait(step.sync, step.threads, turn)
        adapt(step, layer, ADAPTED_GATE, 0, table + GATE, step.gate, step.gate, width, thread)
        adapt(step, layer, ADAPTED_UP, 1, table + UP, step.inner, step.inner, width, thread)
        turn = wait(step.sync, step.threads, turn)
        for row in range(thread, step.rows, step.threads):
            for i in range(row * width, (row + 1) * width, 32):
                gate = load_f32x8(step.gate + i)
                store_f32x8(step.inner + i, mul(mul(gate, sigmoid(gate)), load_f32x8(step.inner + i)))
    for row in range(thread, step.rows, step.threads):
        round_row(step, row, step.inner + row * width, model.feed_forward, model.group)
    turn = wait(step.sync, step.threads, turn)
    return add_product(model, step, layer, ADAPTED_DOWN, step.inner, thread, counter + 2 * LINE_BYTES, turn)


@entry
def decode(model: Model, step: Step, thread: int) -> None:
    """One thread's part of a step: logits of the wanted rows, and keys and values in the cache."""
    turn = load_shared(step.sync + LINE_BYTES) + 1
    for row in range(thread, step.rows, step.threads):
        token = read_i64(step.ids + row * 8)
        read_row(model.embedding, token, model.hidden, model.group, step.x + row * model.hidden * 4)
    turn = wait(step.sync, step.threads, turn)
    counter = step.counters
    for layer in range(model.layers):
        turn = mix_tokens(model, step, layer, thread, counter, turn)
        turn = feed_forward(model, step, layer, thread, counter + 6 * LINE_BYTES, turn)
        counter += COUNTERS_PER_LAYER * LINE_BYTES
    for index in range(thread, step.num_logits, step.threads):
        row = read_i64(step.logits_rows + index * 8)
        normed = step.normed + index * model.hidden * 4
        normalize(step.x + row * model.hidden * 4, normed, model.norm, model.hidden, model.eps)
        round_row(step, index, normed, model.hidden, model.group)
    turn = wait(step.sync, step.threads, turn)
    if step.num_logits > 0:
        inputs = Inputs(step.values, step.scales, step.sums, padded(step.num_logits), model.group)
        stride = (read_i64(model.head + OUTPUTS) + TILE - 1) // TILE * TILE * 4
        share(counter, model.head, inputs, step.logits, stride, STORE, step.threads)
    wait(step.sync, step.threads, turn)
