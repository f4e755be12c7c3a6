"""Runs a quantised model on the CPU's own kernels: token ids to logits through `core.kernels.decoder`.

The model's matrices are brought into the kernels' tiles once, tables of addresses are made of them, and each step
fills in its rows. Keys and values lie in blocks of 32 positions in one piece of memory, which the system provides
page by page as it is touched.

Legend: N rows, V vocabulary, R rows whose logits are wanted.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from core.inference.runner import BLOCK_TOKENS, Segment, num_blocks_for
from core.kernels import attention, decoder, layout
from core.kernels.matmul import MATRIX_BYTES
from core.kernels.packing import TILE, PackedAdapter, PackedMatrix, pack, pack_adapter, unpack
from core.kernels.team import Team
from core.kernels.variant import VARIANT
from core.model.layers import Block
from core.model.lora import Adapter
from core.model.peft_format import linear_shapes
from core.model.quantize import QuantizedEmbedding, QuantizedLinear
from core.model.rope import rotary_table
from core.model.transformer import Transformer

HEAD_DIM_STEP, WIDTH_STEP = 16, 8
# The linear layers that an adapter may change: their places in a layer's table and in an adapter's.
LINEARS = {
    "self_attn.q_proj": (layout.Q, layout.ADAPTED_Q),
    "self_attn.k_proj": (layout.K, layout.ADAPTED_K),
    "self_attn.v_proj": (layout.V, layout.ADAPTED_V),
    "self_attn.o_proj": (layout.OUT, layout.ADAPTED_OUT),
    "mlp.gate_proj": (layout.GATE, layout.ADAPTED_GATE),
    "mlp.up_proj": (layout.UP, layout.ADAPTED_UP),
    "mlp.down_proj": (layout.DOWN, layout.ADAPTED_DOWN),
}
LINE_WORDS = layout.LINE_BYTES // 8


def can_run(model: Transformer) -> bool:
    """Whether the kernels have this model's form: quantised, its widths multiples of a register's."""
    config = model.config
    widths = (config.hidden_size, config.intermediate_size)
    is_even = config.head_dim % HEAD_DIM_STEP == 0 and not any(width % WIDTH_STEP for width in widths)
    return is_even and isinstance(model.lm_head, QuantizedLinear)


class KernelRunner:
    """A model on this machine's cores. One thread at a time may call it."""

    def __init__(self, model: Transformer, *, num_blocks: int, num_threads: int, kv_bits: int = 16) -> None:
        """Takes the model's matrices over: each is freed there as soon as it is packed."""
        self.name = f"{VARIANT} kernels, {num_threads} thread{'s' if num_threads > 1 else ''}"
        self.config, self.num_blocks = model.config, num_blocks
        self.team = Team(num_threads)
        self._element_bytes = kv_bits // 8
        self._keep: list[object] = []
        self._adapters: dict[str | None, _Adapter] = {}
        self._matrices: dict[str, PackedMatrix] = {}
        self.max_rank = 0
        self.weight_bytes = 0
        head_bytes = attention.block_bytes(self.config.head_dim, self._element_bytes)
        self._half_block = self.config.num_key_value_heads * head_bytes
        self.block_bytes = 2 * self.config.num_hidden_layers * self._half_block
        self._cache = _reserve(self.block_bytes * num_blocks)  # (L, 2, blocks, half block)
        self._layers = self._cache.view(2 * self.config.num_hidden_layers, num_blocks, self._half_block)
        self._group = _group_size(model)
        self._model = self._tables(model, head_bytes)
        self._sync = np.zeros(2 * LINE_WORDS, np.int64)
        self._counters = np.zeros(
            (self.config.num_hidden_layers * layout.COUNTERS_PER_LAYER + 1) * LINE_WORDS, np.int64
        )
        self._work = _Workspace(self, 1)

    def forward(self, segments: Sequence[Segment]) -> Tensor:
        """Logits (R, V) of the rows that the segments ask for; see `Runner`."""
        self._check(segments)
        rows = sum(len(segment.ids) for segment in segments)
        if rows > self._work.rows:
            self._work = _Workspace(self, 1 << (rows - 1).bit_length())
        piece_tokens = max(1, layout.PIECE_ROWS * self._model.kv_heads // self._model.heads)
        plan = _Plan(segments, [self._adapter_table(segment.adapter) for segment in segments], piece_tokens)
        room = -(-len(plan.logits_rows) // 4) * 4  # a product writes one row, or four at a time
        logits = torch.empty(room, -(-self.config.vocab_size // TILE) * TILE)
        self._counters.fill(0)
        step = self._work.step(plan, logits.data_ptr(), self.team.size, self._counters, self._sync)
        self.team.run(decoder.decode, self._model, step)
        return logits[: len(plan.logits_rows), : self.config.vocab_size]

    def copy_block(self, source: int, target: int) -> None:
        """Copy one block's keys and values."""
        self._layers[:, target] = self._layers[:, source]

    def read_block(self, block: int) -> Tensor:
        """A block's content, flat bytes."""
        return self._layers[:, block].reshape(-1).clone()

    def write_block(self, block: int, content: Tensor) -> None:
        """Put back what `read_block` gave."""
        self._layers[:, block] = content.view(len(self._layers), self._half_block)

    def add_adapter(self, key: str | None, adapter: Adapter) -> None:
        """See `Runner`."""
        table = np.zeros((self.config.num_hidden_layers, layout.NUM_ADAPTED, layout.ADAPTED_BYTES // 8), np.int64)
        packed = []
        for number, layer in enumerate(table):
            for name, (_, place) in LINEARS.items():
                if low := adapter.get(f"model.layers.{number}.{name}"):
                    packed.append(pack_adapter(low.a, low.b, low.gain))
                    layer[place] = packed[-1].words()
        self._adapters[key] = _Adapter(table, packed)
        rank = max((len(one.scales) for one in packed), default=0)
        if rank > self.max_rank:
            self.max_rank = rank
            self._work = _Workspace(self, self._work.rows)

    def remove_adapter(self, key: str | None) -> None:
        """See `Runner`."""
        del self._adapters[key]

    def weight(self, layer: str) -> Tensor:
        """See `Runner`."""
        outputs, inputs = linear_shapes(self.config)[layer]
        matrix = self._matrices[layer]
        with torch.device("meta"):
            stored = QuantizedLinear(inputs, outputs, bias=False, bits=matrix.bits, group_size=self._group)
        stored.weight, stored.weight_scale = unpack(matrix, inputs=inputs)
        return stored.floats()

    def _tables(self, model: Transformer, head_bytes: int) -> layout.Model:
        config = self.config
        table = np.zeros((config.num_hidden_layers, layout.LAYER_BYTES // 8), np.int64)
        for number, (row, block) in enumerate(zip(table, model.model.layers, strict=True)):
            assert isinstance(block, Block)
            attend = block.self_attn
            for name, (place, _) in LINEARS.items():
                packed = self._matrices[f"model.layers.{number}.{name}"] = self._pack(block.get_submodule(name))
                row[place // 8 : (place + MATRIX_BYTES) // 8] = packed.words()
            if config.gated_attention:
                gate = slice(layout.GATE_ATTENTION // 8, (layout.GATE_ATTENTION + MATRIX_BYTES) // 8)
                row[gate] = self._pack(attend.output_gate).words()
            row[layout.INPUT_NORM // 8] = self._floats(block.input_layernorm.weight)
            row[layout.POST_NORM // 8] = self._floats(block.post_attention_layernorm.weight)
            if config.qk_norm:
                row[layout.Q_NORM // 8] = self._floats(attend.q_norm.weight)
                row[layout.K_NORM // 8] = self._floats(attend.k_norm.weight)
        embedding = self._table(self._pack(model.model.embed_tokens).words())
        head = embedding if config.tie_word_embeddings else self._table(self._pack(model.lm_head).words())
        cos, sin = rotary_table(config, self._positions())
        half = config.head_dim // 2
        return layout.Model(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            feed_forward=config.intermediate_size,
            group=self._group,
            qk_norm=layout.AFTER_ROPE if config.qk_norm_after_rope else int(config.qk_norm),
            window=config.sliding_window or 0,
            element_bytes=self._element_bytes,
            eps=np.float32(config.rms_norm_eps),
            table=self._table(table),
            embedding=embedding,
            head=head,
            norm=self._floats(model.model.norm.weight),
            cos=self._floats(cos[:, :half]),
            sin=self._floats(sin[:, :half]),
            cache=self._cache.data_ptr(),
            cache_layer_bytes=2 * self._half_block * self.num_blocks,
            cache_half_bytes=self._half_block * self.num_blocks,
            cache_head_bytes=head_bytes,
        )

    def _check(self, segments: Sequence[Segment]) -> None:
        """Hold a step against the memory that is there: the kernels check no bound."""
        most = self._positions()
        for segment in segments:
            end = segment.start + len(segment.ids)
            assert end <= min(most, len(segment.blocks) * BLOCK_TOKENS), (end, most, len(segment.blocks))
            assert 0 <= min(segment.ids) <= max(segment.ids) < self.config.vocab_size, "an id that the model lacks"

    def _positions(self) -> int:
        """Positions that the cache can hold, none beyond the model's context."""
        return min(self.config.max_position_embeddings, self.num_blocks * BLOCK_TOKENS)

    def _adapter_table(self, key: str | None) -> int:
        """The address of an adapter's table; 0 where none is the default."""
        return 0 if key is None and None not in self._adapters else int(self._adapters[key].table.ctypes.data)

    def _pack(self, module: nn.Module) -> PackedMatrix:
        """A module's matrix, which is freed there."""
        assert isinstance(module, QuantizedLinear | QuantizedEmbedding)
        bias = module.bias if isinstance(module, QuantizedLinear) else None
        packed = pack(module.weight, module.weight_scale, bias, bits=module.bits, group=self._group)
        module.weight = module.weight_scale = torch.empty(0)
        self._keep.append(packed)
        is_read = isinstance(module, QuantizedLinear) or self.config.tie_word_embeddings
        self.weight_bytes += packed.nbytes if is_read else 0
        return packed

    def _floats(self, values: Tensor) -> int:
        """The address of an fp32 copy that lives as long as the runner, and keeps no file open."""
        held = values.detach().float().clone(memory_format=torch.contiguous_format)
        self._keep.append(held)
        return held.data_ptr()

    def _table(self, words: "np.ndarray | list[int]") -> int:
        held = np.ascontiguousarray(words, dtype=np.int64)
        self._keep.append(held)
        return int(held.ctypes.data)


@dataclass(frozen=True, slots=True, eq=False)
class _Adapter:
    """An adapter's table and what it points to."""

    table: "np.ndarray"
    packed: list[PackedAdapter]


class _Plan:
    """A step's rows as arrays of 64-bit words."""

    def __init__(self, segments: Sequence[Segment], adapters: Sequence[int], piece_tokens: int) -> None:
        lengths = [len(segment.ids) for segment in segments]
        firsts = np.cumsum([0, *lengths[:-1]])
        self.rows = sum(lengths)
        self.ids = np.concatenate([np.asarray(segment.ids, np.int64) for segment in segments])
        self.positions = np.concatenate(
            [
                np.arange(segment.start, segment.start + length)
                for segment, length in zip(segments, lengths, strict=True)
            ]
        ).astype(np.int64)
        self.row_sequences = np.repeat(np.arange(len(segments), dtype=np.int64), lengths)
        self.tables = [
            np.asarray(segment.blocks[: num_blocks_for(segment.start + len(segment.ids))], np.int64)
            for segment in segments
        ]
        self.sequences = np.array(
            [
                (first, segment.start, table.ctypes.data)
                for first, segment, table in zip(firsts, segments, self.tables, strict=True)
            ],
            np.int64,
        )
        self.adapters = np.asarray(adapters, np.int64)
        self.pieces = np.array(
            [
                (number, first + start, min(piece_tokens, length - start))
                for number, first, length in zip(count(), firsts, lengths)
                for start in range(0, length, piece_tokens)
            ],
            np.int64,
        )
        self.logits_rows = np.concatenate(
            [
                np.arange(first + length - segment.num_logits, first + length)
                for first, length, segment in zip(firsts, lengths, segments, strict=True)
            ]
        ).astype(np.int64)


class _Workspace:
    """The memory that steps of up to `rows` rows work in."""

    def __init__(self, runner: KernelRunner, rows: int) -> None:
        model = runner._model  # noqa: SLF001 - a part of it
        self.rows = rows
        padded = rows + 4  # a product writes four rows at a time, and attention reads one row too many
        width = model.heads * model.head_dim
        widest = max(model.hidden, width, model.feed_forward)
        group = model.group
        groups = -(-widest // group)
        qkv = 2 * width + 2 * model.kv_heads * model.head_dim
        self._x, self._normed = torch.zeros(padded, model.hidden), torch.zeros(padded, widest)
        self._qkv, self._mixed = torch.zeros(padded, qkv), torch.zeros(padded, width)
        self._inner = torch.empty(padded, model.feed_forward)
        self._gate = torch.empty(padded, max(model.feed_forward, model.hidden) if runner.max_rank else 0)
        self._projected = torch.zeros(padded, layout.PROJECTIONS, runner.max_rank)
        self._values = torch.zeros(padded, groups * group, dtype=torch.int8)
        self._scales, self._sums = torch.zeros(padded, groups), torch.zeros(padded, groups, dtype=torch.int32)
        piece_rows = max(layout.PIECE_ROWS, model.heads // model.kv_heads) + 4
        scratch = piece_rows * (2 * model.head_dim + 2) * 4 + 32 + 4 * BLOCK_TOKENS * 4 + 64
        self._scratch = torch.zeros(runner.team.size, -(-scratch // 64) * 16)

    def step(self, plan: _Plan, logits: int, threads: int, counters: "np.ndarray", sync: "np.ndarray") -> layout.Step:
        """The step's words; `plan` must live until it is done."""
        return layout.Step(
            rows=plan.rows,
            threads=threads,
            ids=plan.ids.ctypes.data,
            positions=plan.positions.ctypes.data,
            row_sequences=plan.row_sequences.ctypes.data,
            sequences=plan.sequences.ctypes.data,
            adapters=plan.adapters.ctypes.data if plan.adapters.any() else 0,
            pieces=plan.pieces.ctypes.data,
            num_pieces=len(plan.pieces),
            logits_rows=plan.logits_rows.ctypes.data,
            num_logits=len(plan.logits_rows),
            x=self._x.data_ptr(),
            normed=self._normed.data_ptr(),
            qkv=self._qkv.data_ptr(),
            mixed=self._mixed.data_ptr(),
            inner=self._inner.data_ptr(),
            gate=self._gate.data_ptr(),
            projected=self._projected.data_ptr(),
            projected_bytes=self._projected.shape[2] * 4,
            values=self._values.data_ptr(),
            scales=self._scales.data_ptr(),
            sums=self._sums.data_ptr(),
            logits=logits,
            scratch=self._scratch.data_ptr(),
            scratch_bytes=self._scratch.shape[1] * 4,
            counters=counters.ctypes.data,
            sync=sync.ctypes.data,
        )


def _group_size(model: Transformer) -> int:
    sizes = {module.group_size for module in model.modules() if isinstance(module, QuantizedLinear)}
    assert len(sizes) == 1, sizes
    return sizes.pop()


def _reserve(num_bytes: int) -> Tensor:
    """Bytes that take memory when they are first written; nothing is read before."""
    return torch.frombuffer(mmap.mmap(-1, max(num_bytes, mmap.PAGESIZE)), dtype=torch.uint8)[:num_bytes]
