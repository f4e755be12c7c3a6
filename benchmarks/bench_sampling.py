"""Milliseconds that choosing a token costs, on a large vocabulary: the sampler beside the plain definition.

The plain one sorts the vocabulary, as the filters are defined. The floor is one softmax of all logits, which
an exact normaliser needs. Peaked logits are those of a trained model in the middle of a sentence, flat ones of
a model that knows nothing. The masks are of JSON after a schema.
"""

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from core.config.param_config import SamplingConfig
from core.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "greedy": {"temperature": 0},
    "no_filter": {"temperature": 1, "top_p": 1},
    "top_k": {"top_k": 40},
    "penalties": {"repetition_penalty": 1.1, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    "logprobs": {"logprobs": 20},
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
STATES = {"structure": "", "string": '{"name": "'}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--vocab-size", type=int, default=152_064, help="tokens of the vocabulary (default 152064)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds of 20 tokens (default 9)")


def run(arguments: Namespace) -> dict[str, Any]:
    import torch

    from core.inference.sampling import Sampler

    torch.set_num_threads(1)
    size = arguments.vocab_size
    noise = torch.randn(size, generator=torch.Generator().manual_seed(0))
    peaked = 2.5 * noise
    peaked[:50] += 12
    figures: dict[str, Any] = {"vocab_size": size, "repeats": arguments.repeats}
    for shape, logits in (("peaked", peaked), ("flat", noise / 10)):
        for name, options in OPTIONS.items():
            sampler = Sampler(SamplingConfig.from_dict({"seed": 0, **options}), range(1000), vocab_size=size)
            figures[f"{shape}_{name}_ms"] = _median_ms(lambda: sampler.next(logits), arguments.repeats)  # noqa: B023
    figures["plain_default_ms"] = _median_ms(lambda: plain(peaked), arguments.repeats)
    figures["floor_softmax_ms"] = _median_ms(lambda: torch.softmax(peaked, dim=0), arguments.repeats)
    return figures | _mask_figures(size, arguments.repeats)


def plain(logits: "Tensor") -> int:
    """A draw at the default settings, as they are defined."""
    import torch

    usual = SamplingConfig()
    probabilities, ids = torch.softmax(logits / usual.temperature, dim=0).sort(descending=True)
    before = probabilities.cumsum(dim=0) - probabilities
    return int(ids[torch.multinomial(probabilities * (before < usual.top_p), 1)])


def _mask_figures(size: int, repeats: int) -> dict[str, Any]:
    import torch

    from core.inference.constraint import ConstraintCompiler

    compiler = ConstraintCompiler(_tokenizer(size), vocab_size=size)
    started = time.perf_counter()
    compiler.json_schema(SCHEMA)
    figures: dict[str, Any] = {"first_constraint_ms": round((time.perf_counter() - started) * 1e3, 1)}
    figures["constraint_ms"] = _median_ms(lambda: compiler.json_schema(SCHEMA), repeats)
    scores = torch.zeros(size).numpy()
    for state, text in STATES.items():
        constraint = compiler.json_schema(SCHEMA)
        for byte in text.encode():
            constraint.advance(byte)
        figures[f"mask_in_{state}_ms"] = _median_ms(lambda: constraint.mask(scores), repeats)  # noqa: B023
    return figures


class _Words:
    """A vocabulary of all bytes and of made-up words, without a model folder."""

    strips_first_space = False

    def __init__(self, size: int) -> None:
        self.vocab_size = size
        import torch

        letters = "etaoinshrdlucmfwypvbgkjqxz"
        draws = torch.randint(26, (2 * size, 9), generator=torch.Generator().manual_seed(0)).tolist()
        words = [" " * (row[0] % 2) + "".join(letters[n] for n in row[: 3 + row[1] % 7]) for row in draws]
        self._bytes = [*(bytes([value]) for value in range(256)), *(word.encode() for word in dict.fromkeys(words))]

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]


def _tokenizer(size: int) -> Tokenizer:
    return Tokenizer(_Words(size - 1), added_tokens={"</s>": size - 1}, settings={"eos_token": "</s>"})


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    """The median of rounds of 20 calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        for _ in range(20):
            work()
        times.append((time.perf_counter() - started) / 20 * 1e3)
    return round(statistics.median(times[1:]), 4)
