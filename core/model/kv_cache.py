"""A preallocated cache of keys and values for one batch of sequences of equal length.

Legend: B batch, K kv heads, T time, D head dim.
"""

import torch
from torch import Tensor

from core.config.model_config import ModelConfig
from core.errors import GenerationError


def cache_bytes(config: ModelConfig, batch_size: int, max_seq_len: int, dtype: torch.dtype) -> int:
    """Memory that a cache of this size takes."""
    values = 2 * config.num_hidden_layers * batch_size * config.num_key_value_heads * max_seq_len * config.head_dim
    return values * dtype.itemsize


class KVCache:
    """Keys and values of every layer, each (B, K, max_seq_len, D), filled from position 0."""

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_seq_len: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, config.num_key_value_heads, max_seq_len, config.head_dim)
        layers = range(config.num_hidden_layers)
        self._keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self._values = [torch.zeros(shape, dtype=dtype, device=device) for _ in layers]
        self.max_seq_len = max_seq_len
        self.length = 0

    def update(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write (B, K, T, D) behind the filled part; return views of all keys and values so far.

        `length` moves only in `advance`, after the last layer.
        """
        end = self.length + keys.shape[2]
        if end > self.max_seq_len:
            raise GenerationError(
                f"{end} tokens do not fit the context of {self.max_seq_len}.",
                "Shorten the conversation or start a new one.",
            )
        self._keys[layer][:, :, self.length : end] = keys
        self._values[layer][:, :, self.length : end] = values
        return self._keys[layer][:, :, :end], self._values[layer][:, :, :end]

    def advance(self, num_tokens: int) -> None:
        self.length += num_tokens

    def truncate(self, length: int) -> None:
        """Forget everything behind the first `length` tokens."""
        assert 0 <= length <= self.length, (length, self.length)
        self.length = length
