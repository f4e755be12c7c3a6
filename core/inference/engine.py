"""Token ids in, token ids out: prefill, decode, cancel.

One engine holds one model and one cache. Generations take turns behind a lock; the tokens that a new
prompt shares with the cache's content are not computed again, so a second turn costs its new tokens.
"""

import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.config.param_config import SamplingConfig
from core.errors import GenerationError
from core.inference.sampling import Sampler
from core.model.kv_cache import KVCache
from core.model.transformer import Transformer

# A long prompt is computed in parts, so that it can be cancelled.
PREFILL_CHUNK_TOKENS = 256


@dataclass(slots=True)
class Timings:
    """What one generation cost. `reused_tokens` of the prompt were in the cache already."""

    prompt_tokens: int
    reused_tokens: int = 0
    completion_tokens: int = 0
    time_to_first_token_s: float = 0.0
    decode_s: float = 0.0


class Engine:
    """Runs one generation at a time over a preallocated cache."""

    def __init__(self, model: Transformer, *, max_seq_len: int) -> None:
        self.model = model
        self.max_seq_len = max_seq_len
        self.device = model.model.norm.weight.device
        dtype = model.model.norm.weight.dtype
        self._cache = KVCache(model.config, 1, max_seq_len, dtype=dtype, device=self.device)
        self._cached_ids: list[int] = []
        self._lock = threading.Lock()

    def check_fits(self, prompt_tokens: int) -> None:
        """Raise GenerationError with both numbers when a prompt leaves no room for a token."""
        if prompt_tokens >= self.max_seq_len:
            raise GenerationError(
                f"The conversation is {prompt_tokens} tokens, the model's context is {self.max_seq_len}.",
                "Start a new chat or shorten the message.",
            )

    def generate(
        self,
        prompt_ids: Sequence[int],
        sampling: SamplingConfig,
        *,
        stop_ids: frozenset[int],
        cancelled: threading.Event,
        timings: Timings,
    ) -> Generator[int, None, None]:
        """Yield new ids up to a stop id (not yielded), max_new_tokens, the context's end or `cancelled`.

        Raises GenerationError for an empty prompt, ids that the model does not have, or one that does not fit.
        """
        if not prompt_ids:
            raise GenerationError("The prompt is empty.", "Give at least one token of text.")
        lowest, highest, count = min(prompt_ids), max(prompt_ids), self.model.config.vocab_size
        if lowest < 0 or highest >= count:
            raise GenerationError(
                f"The prompt holds id {lowest if lowest < 0 else highest}, the model has ids 0 … {count - 1}.",
                "Encode the text with the model's own tokenizer.",
            )
        self.check_fits(len(prompt_ids))
        with self._lock:
            yield from self._generate(list(prompt_ids), sampling, stop_ids, cancelled, timings)

    @torch.inference_mode()
    def _generate(
        self,
        prompt_ids: list[int],
        sampling: SamplingConfig,
        stop_ids: frozenset[int],
        cancelled: threading.Event,
        timings: Timings,
    ) -> Generator[int, None, None]:
        start = time.perf_counter()
        sampler = Sampler(sampling, prompt_ids, vocab_size=self.model.config.vocab_size)
        logits = self._prefill(prompt_ids, cancelled, timings)
        limit = min(sampling.max_new_tokens, self.max_seq_len - len(prompt_ids))
        while logits is not None and not cancelled.is_set():
            token = sampler.next(logits.float().cpu()).token
            if token in stop_ids or token in sampling.stop_ids:
                return
            timings.completion_tokens += 1
            now = time.perf_counter()
            if timings.completion_tokens == 1:
                timings.time_to_first_token_s = now - start
                first = now
            timings.decode_s = now - first
            yield token
            if timings.completion_tokens >= limit:
                return
            logits = self._decode(token)

    def _prefill(self, prompt_ids: list[int], cancelled: threading.Event, timings: Timings) -> Tensor | None:
        """Logits (V,) after the prompt, or None when cancelled. The cached prefix is kept."""
        reused = _common_prefix(self._cached_ids, prompt_ids[:-1])
        timings.reused_tokens = reused
        self._cache.truncate(reused)
        del self._cached_ids[reused:]
        logits = None
        while self._cache.length < len(prompt_ids):
            if cancelled.is_set():
                return None
            part = prompt_ids[self._cache.length : self._cache.length + PREFILL_CHUNK_TOKENS]
            logits = self._forward(part)
        return logits

    def _decode(self, token: int) -> Tensor:
        """Logits (V,) after one more token."""
        return self._forward([token])

    def _forward(self, ids: list[int]) -> Tensor:
        input_ids = torch.tensor([ids], device=self.device)
        logits = self.model(input_ids, kv_cache=self._cache, last_only=True)  # (1, 1, V)
        self._cached_ids += ids
        return logits[0, 0]


def _common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    length = 0
    for a, b in zip(left, right, strict=False):
        if a != b:
            break
        length += 1
    return length
