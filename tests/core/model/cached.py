"""Logits as the engine computes them: span by span, with keys and values kept in blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.inference.runner import Segment, num_blocks_for
from core.inference.torch_runner import TorchRunner
from core.model.transformer import Transformer


def cached_logits(model: Transformer, input_ids: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    """(B, tokens of all spans, V) for input_ids (B, T), whose rows are sequences beside each other."""
    batch, time = input_ids.shape
    size = num_blocks_for(time)
    runner = TorchRunner(model, batch * size)
    parts = []
    for start, end in spans:
        segments = [
            Segment(row[start:end].tolist(), start, range(number * size, (number + 1) * size), num_logits=end - start)
            for number, row in enumerate(input_ids)
        ]
        parts.append(runner.forward(segments).view(batch, end - start, -1))
    return torch.cat(parts, dim=1)
