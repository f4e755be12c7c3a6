"""Runs any Transformer on any device of torch, with its keys and values in blocks."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.inference.runner import BLOCK_TOKENS, Segment
from core.model.adapters import float_weight
from core.model.lora import Adapter, AdapterHooks
from core.model.paged_cache import PagedKVCache, Span
from core.model.transformer import Transformer


class TorchRunner:
    """See `Runner`."""

    def __init__(self, model: Transformer, num_blocks: int) -> None:
        norm = model.model.norm.weight
        self.name, self.config = f"torch on {norm.device.type}", model.config
        self.weight_bytes = _weight_bytes(model)
        self.num_blocks = num_blocks
        self._model, self._device, self._adapters = model, norm.device, AdapterHooks(model)
        self._cache = PagedKVCache(model.config, num_blocks, BLOCK_TOKENS, dtype=norm.dtype, device=norm.device)
        self.block_bytes = self._cache.block_bytes
        self.copy_block = torch.inference_mode()(self._cache.copy_block)
        self.read_block = torch.inference_mode()(self._cache.read_block)
        self.write_block = torch.inference_mode()(self._cache.write_block)

    @torch.inference_mode()
    def forward(self, segments: Sequence[Segment]) -> Tensor:
        """One pass over all rows; the head sees only those whose logits are wanted."""
        step = self._cache.step([Span(segment.start, len(segment.ids), segment.blocks) for segment in segments])
        ids = torch.tensor([[token for segment in segments for token in segment.ids]], device=self._device)  # (1, R)
        rows = _wanted_rows(segments)
        asked = torch.tensor(rows or [-1], device=self._device)  # a head over no row at all is a case of its own
        with self._adapters.active(self._adapter_rows(segments)):
            logits = self._model(ids, position_ids=step.position_ids, kv_cache=step, rows=asked)[0]
        return logits[: len(rows)].float().cpu()

    def add_adapter(self, name: str | None, adapter: Adapter) -> None:
        """See `Runner`."""
        self._adapters.add(name, adapter)

    def remove_adapter(self, name: str | None) -> None:
        """See `Runner`."""
        self._adapters.remove(name)

    def weight(self, layer: str) -> Tensor:
        """See `Runner`."""
        return float_weight(self._model.get_submodule(layer)).float().cpu()

    def _adapter_rows(self, segments: Sequence[Segment]) -> dict[str | None, Tensor]:
        """The rows of each adapter that is asked for."""
        rows: dict[str | None, list[int]] = {}
        end = 0
        for segment in segments:
            start, end = end, end + len(segment.ids)
            if segment.adapter in self._adapters:
                rows.setdefault(segment.adapter, []).extend(range(start, end))
        return {name: torch.tensor(places, device=self._device) for name, places in rows.items()}


def _weight_bytes(model: Transformer) -> int:
    state = model.state_dict()
    own_embedding = (
        set() if model.config.tie_word_embeddings else {"model.embed_tokens.weight", "model.embed_tokens.weight_scale"}
    )
    tensors = {tensor.data_ptr(): tensor for name, tensor in state.items() if name not in own_embedding}
    return sum(tensor.nbytes for tensor in tensors.values())


def _wanted_rows(segments: Sequence[Segment]) -> list[int]:
    rows: list[int] = []
    end = 0
    for segment in segments:
        end += len(segment.ids)
        rows += range(end - segment.num_logits, end)
    return rows
