"""A runner whose model is arithmetic on what its blocks hold: any block that is wrong makes a wrong text."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from core.config.model_config import PRESETS
from core.config.param_config import SamplingConfig
from core.inference.request import Request
from core.inference.runner import BLOCK_TOKENS, Segment
from core.inference.sampling import Choice, Sampler
from core.model.lora import Adapter

VOCAB = 23


class ArithmeticRunner:
    """The next token is a sum over the last `memory` tokens and their positions."""

    def __init__(self, num_blocks: int, *, memory: int = 10_000) -> None:
        self.config = dataclasses.replace(PRESETS["tiny"], vocab_size=VOCAB)
        self.name, self.weight_bytes = "arithmetic", 0
        self.num_blocks, self.block_bytes = num_blocks, 8 * BLOCK_TOKENS
        self.blocks = torch.full((num_blocks, BLOCK_TOKENS), -(10**6))
        self.steps: list[list[Segment]] = []
        self.failures: list[Exception] = []
        self.removed: list[str] = []
        self._memory = memory

    def forward(self, segments: Sequence[Segment]) -> Tensor:
        self.steps.append(list(segments))
        if self.failures:
            raise self.failures.pop()
        rows = []
        for segment in segments:
            for offset, token in enumerate(segment.ids):
                block, place = divmod(segment.start + offset, BLOCK_TOKENS)
                self.blocks[segment.blocks[block], place] = token
            end = segment.start + len(segment.ids)
            held = self.blocks[list(segment.blocks)].flatten()[:end].tolist()
            lengths = range(end - segment.num_logits + 1, end + 1)
            rows += [self.logits(held[:length], segment.adapter) for length in lengths]
        return torch.stack(rows) if rows else torch.empty(0, VOCAB)

    def logits(self, ids: Sequence[int], adapter: str | None = None) -> Tensor:
        recent = ids[-self._memory :]
        total = sum((place + 3) * token for place, token in enumerate(recent)) + len(adapter or "")
        return torch.arange(VOCAB).add(total).remainder(VOCAB).float() / 4

    def text(
        self, prompt: Sequence[int], count: int, *, adapter: str | None = None, seed: int | None = None
    ) -> list[int]:
        """What a request alone must give: greedy, or drawn with a seed."""
        ids, sampler = list(prompt), sampler_of(prompt, seed)
        for _ in range(count):
            ids.append(sampler.next(self.logits(ids, adapter)).token)
        return ids[len(prompt) :]

    def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Every name is an adapter here: its length is added to the sum."""

    def remove_adapter(self, name: str) -> None:
        self.removed.append(name)

    def weight(self, layer: str) -> Tensor:
        raise AssertionError(layer)

    def copy_block(self, source: int, target: int) -> None:
        self.blocks[target] = self.blocks[source]

    def read_block(self, block: int) -> Tensor:
        return self.blocks[block].clone().view(torch.uint8)

    def write_block(self, block: int, content: Tensor) -> None:
        self.blocks[block] = content.view(torch.int64)


class Listener:
    """Keeps what a request gives."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.reason: str | None = None
        self.error: BaseException | None = None
        self.num_ends = 0

    def push(self, choice: Choice) -> bool:
        self.tokens.append(choice.token)
        return False

    def end(self, reason: str) -> None:
        self.reason = reason
        self.num_ends += 1

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.num_ends += 1


def sampler_of(prompt: Sequence[int], seed: int | None) -> Sampler:
    sampling = SamplingConfig(temperature=0.0 if seed is None else 1.0, top_p=1.0, seed=seed)
    return Sampler(sampling, prompt, vocab_size=VOCAB)


def ask(prompt: Sequence[int], count: int, *, seed: int | None = None, adapter: str | None = None) -> Request:
    """A request with a Listener."""
    return Request(prompt, sampler_of(prompt, seed), Listener(), max_new_tokens=count, adapter=adapter)


def heard(request: Request) -> Listener:
    assert isinstance(request.receiver, Listener)
    return request.receiver
