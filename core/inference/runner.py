"""What the engine asks of whatever computes a model: a ragged step over blocks of keys and values.

A step takes new tokens of several sequences, each a `Segment` with its own block table. Who owns which block,
what is in it and which sequences run together is the engine's affair; how a block looks is the runner's alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from core.config.model_config import ModelConfig
from core.model.lora import Adapter

BLOCK_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Segment:
    """One sequence's share of a step."""

    ids: Sequence[int]  # new tokens, at positions start … start + len(ids) - 1
    start: int  # tokens of this sequence that are in the cache already
    blocks: Sequence[int]  # blocks[i] holds positions i * BLOCK_TOKENS …; covers start + len(ids)
    num_logits: int  # logits wanted of the last n ids: 0 inside a prompt, 1, or k + 1 to verify a draft of k
    adapter: str | None = None  # the adapter's name


class Runner(Protocol):
    """Computes a model. Only the engine's one thread calls it."""

    name: str  # for people: the device, or the kernels' variant
    config: ModelConfig
    weight_bytes: int  # that one token reads, beside an embedding of its own
    num_blocks: int
    block_bytes: int  # of all layers, keys and values

    def forward(self, segments: Sequence[Segment]) -> Tensor:
        """Logits (sum of num_logits, V), fp32 on the CPU, in order; the new keys and values are written."""

    def copy_block(self, source: int, target: int) -> None:
        """Make `target` equal to `source`."""

    def read_block(self, block: int) -> Tensor:
        """The content of a block as flat uint8 on the CPU."""

    def write_block(self, block: int, content: Tensor) -> None:
        """Put back what `read_block` gave."""

    def add_adapter(self, name: str | None, adapter: Adapter) -> None:
        """Make an adapter known to segments; None is that of segments which name none."""

    def remove_adapter(self, name: str | None) -> None:
        """Forget an adapter, and give its memory back."""

    def weight(self, layer: str) -> Tensor:
        """The matrix (O, I) of a block's linear layer as it is computed with, fp32 on the CPU. Any thread may ask."""


def num_blocks_for(num_tokens: int) -> int:
    """Blocks that hold so many tokens."""
    return -(-num_tokens // BLOCK_TOKENS)
