"""The two orders of a head's rows under RoPE.

Hugging Face rotates halves: dimension i with i + D/2. AstrAI and GGUF's llama rotate neighbours: 2i with
2i + 1. The same model in the other order is the same rows in another order, in q, k, their biases and norms.
"""

from torch import Tensor


def neighbours_to_halves(rows: Tensor, num_heads: int) -> Tensor:
    """(num_heads · D, …) from neighbours rotated to halves rotated."""
    return _reorder(rows, num_heads, (-1, 2), (2, 1))


def halves_to_neighbours(rows: Tensor, num_heads: int) -> Tensor:
    """(num_heads · D, …) from halves rotated to neighbours rotated."""
    return _reorder(rows, num_heads, (2, -1), (2, 1))


def _reorder(rows: Tensor, num_heads: int, pairs: tuple[int, int], order: tuple[int, int]) -> Tensor:
    split = rows.reshape(num_heads, *pairs, *rows.shape[1:])
    return split.transpose(*order).reshape(rows.shape).contiguous()
