"""Forced answers out of noise, for the tests of constraints."""

from collections.abc import Callable
from typing import Any

import torch

from core.config.param_config import SamplingConfig
from core.data.tokenizer import Tokenizer
from core.inference.constraint import Constraint, ConstraintCompiler
from core.inference.sampling import Sampler

TEXT = {"type": "string", "maxLength": 12}

Logits = Callable[[list[int]], torch.Tensor]


def noise(vocab_size: int, seed: int) -> Logits:
    """A model that knows nothing: other logits at every step, the same at every call."""
    draws = torch.Generator().manual_seed(seed)
    return lambda _: 3 * torch.randn(vocab_size, generator=draws)


def answer_ids(
    logits: Logits, constraint: Constraint, *, vocab_size: int, stop_ids: frozenset[int], **sampling: Any
) -> tuple[list[int], bool]:
    """The ids up to a stop id, and whether there was one."""
    config = SamplingConfig.from_dict({"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 1500, **sampling})
    sampler = Sampler(config, [], vocab_size=vocab_size, constraint=constraint)
    ids: list[int] = []
    while len(ids) < config.max_new_tokens:
        token = sampler.next(logits(ids)).token
        if token in stop_ids:
            return ids, True
        ids.append(token)
    return ids, False


def compiler(tokenizer: Tokenizer) -> ConstraintCompiler:
    return ConstraintCompiler(tokenizer, vocab_size=tokenizer.vocab_size + 40)
