"""A preallocated cache of keys and values for one batch of sequences of equal length.

Legend: B batch, K kv heads, T time, D head dim.
"""

import torch
from torch import Tensor

from core.config.model_config import ModelConfig
from core.errors import GenerationError
from core.model.attention import attention, causal_mask


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
        self._mask: Tensor | None = None
        self.max_seq_len = max_seq_len
        self.length = 0

    def begin(self, num_tokens: int, window: int | None, device: torch.device) -> int:
        """See AttentionCache."""
        end = self.length + num_tokens
        if end > self.max_seq_len:
            raise GenerationError(
                f"{end} tokens do not fit the context of {self.max_seq_len}.",
                "Shorten the conversation or start a new one.",
            )
        self._mask = causal_mask(self.length, num_tokens, window=window, device=device)
        return end

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See AttentionCache."""
        end = self.length + k.shape[2]
        self._keys[layer][:, :, self.length : end] = k
        self._values[layer][:, :, self.length : end] = v
        return attention(q, self._keys[layer][:, :, :end], self._values[layer][:, :, :end], self._mask)

    def finish(self, num_tokens: int) -> None:
        """See AttentionCache."""
        self.length += num_tokens

    def truncate(self, length: int) -> None:
        """Forget everything behind the first `length` tokens."""
        assert 0 <= length <= self.length, (length, self.length)
        self.length = length
