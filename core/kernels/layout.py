"""What a step of the decoder gets to know: the model's tables, and the rows of the step.

Everything is a number or an address; tables are 64-bit words. `core.inference.kernel_runner` fills them in.

Legend: N rows, C hidden, H query heads, K kv heads, D head dim, F feed-forward, V vocabulary, L layers.
"""

from typing import NamedTuple

import numpy as np

from core.kernels.matmul import MATRIX_BYTES

# A layer's matrices, in the order of its table. GATE_ATTENTION has no outputs where attention is not gated.
Q, K, V, GATE_ATTENTION, OUT, GATE, UP, DOWN = range(0, 8 * MATRIX_BYTES, MATRIX_BYTES)
# After them the addresses of its norms' weights; 0 where queries and keys are not normalised.
INPUT_NORM, POST_NORM, Q_NORM, K_NORM = range(8 * MATRIX_BYTES, 8 * MATRIX_BYTES + 32, 8)
LAYER_BYTES = 8 * MATRIX_BYTES + 32
# The layers that an adapter may change, in the order of its table of L × 7 entries.
ADAPTED_Q, ADAPTED_K, ADAPTED_V, ADAPTED_OUT, ADAPTED_GATE, ADAPTED_UP, ADAPTED_DOWN = range(NUM_ADAPTED := 7)
# Words of an entry: addresses of A, B, the ranks' scales and the outputs' gains (0: none), then r (0: no entry), I, O.
# `core.kernels.packing` tells their form; r is filled up to whole RANK_STEPs.
ADAPTED_BYTES = 56
ADAPTED_A, ADAPTED_B, ADAPTED_SCALES, ADAPTED_GAINS, ADAPTED_RANK, ADAPTED_INPUTS, ADAPTED_OUTPUTS = range(0, 56, 8)
# Layers that take the same inputs and are projected together at most: queries, keys and values.
PROJECTIONS = 3
# A sequence's words: first row, position of that row's token, address of its block table (64-bit words).
SEQUENCE_BYTES = 24
# A piece of attention: sequence, first of its rows, number of rows.
PIECE_BYTES = 24
# Query rows that share one pass over the cache, unless one token has more heads to a kv head.
PIECE_ROWS = 32
LINE_BYTES = 64
SPINS_BEFORE_GIVING_WAY = 2048
AFTER_ROPE = 2
COUNTERS_PER_LAYER = 9


class Model(NamedTuple):
    """A model's shape, and addresses of what stays the same in every step."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    group: int
    qk_norm: int  # 0 none, 1 before the rotation, AFTER_ROPE
    window: int  # positions that a query sees, itself among them; 0: all
    element_bytes: int  # of the cache
    eps: np.float32
    table: int  # L × LAYER_BYTES
    embedding: int  # matrix (V, C)
    head: int  # matrix (V, C)
    norm: int
    cos: int  # (positions, D/2) fp32
    sin: int
    cache: int  # (L, keys and values, blocks, K, block_bytes)
    cache_layer_bytes: int
    cache_half_bytes: int  # keys of one layer
    cache_head_bytes: int  # one kv head's part of a block


class Step(NamedTuple):
    """One step's rows and where its threads work."""

    rows: int
    threads: int
    ids: int  # (N,) 64-bit words
    positions: int  # (N,)
    row_sequences: int  # (N,)
    sequences: int
    adapters: int  # for each sequence the address of its adapter's table or 0; 0: no sequence has one
    pieces: int
    num_pieces: int
    logits_rows: int  # (R,): rows whose logits are wanted
    num_logits: int
    x: int  # (N, C) fp32
    normed: int  # (N, max(C, H·D, F)) fp32
    qkv: int  # (N, (2·H + 2·K)·D) fp32, H·D less where attention is not gated
    mixed: int  # (N, H·D) fp32
    inner: int  # (N, F) fp32
    gate: int  # (N, max(C, F)), where there are adapters
    projected: int  # (N, PROJECTIONS, rank) fp32: A x
    projected_bytes: int  # of one projection
    values: int  # quantised activations
    scales: int
    sums: int
    logits: int  # (R, V) fp32, rows of V filled up to tiles
    scratch: int
    scratch_bytes: int  # of one thread
    counters: int  # zero, one line for each shared counter
    sync: int  # two lines: arrivals, rounds
