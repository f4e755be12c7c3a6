"""Decoding with adapters beside a quantised 1B model of random weights, against the plain model: speed and memory.

One process with one copy of the weights; plain model and adapters take turns, and each ratio is of two measurements one
after the other. The ceiling is the plain model: an adapter reads its own values beside the weights.
"""

import gc
import statistics
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.config.model_config import ModelConfig
    from core.model.lora import Adapter

SHAPE_NAMES = ("llama", "astrai")
CONTEXT, DECODE_TOKENS, PREFILL_TOKENS, STREAMS = 128, 32, 512, 8


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=SHAPE_NAMES, default="llama", help="the model's shape (default llama)")
    parser.add_argument("--format", choices=("int8", "int4"), default="int4", help="the weights (default int4)")
    parser.add_argument("--rank", type=int, default=16, help="of the adapters, on all seven matrices (default 16)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default 5)")


def run(arguments: Namespace) -> dict[str, Any]:
    import psutil

    from benchmarks.decoders import Ours
    from benchmarks.random_models import SCHEMES, SHAPES, write_ours
    from core.model.device import num_usable_cores

    config = SHAPES[arguments.shape]
    with tempfile.TemporaryDirectory() as folder:
        write_ours(config, SCHEMES[arguments.format], Path(folder))
        engine = Ours(folder, num_usable_cores())
    memory = psutil.Process().memory_info
    engine.decode(CONTEXT, 1, 1)
    gc.collect()
    before = memory().rss
    engine.add_adapter("lora", _random_adapter(config, arguments.rank, has_gain=False))
    gc.collect()
    added_mb = (memory().rss - before) / 1e6
    engine.add_adapter("dora", _random_adapter(config, arguments.rank, has_gain=True))

    def decode(streams: int, *adapters: str | None) -> Callable[[int], float]:
        return lambda _: streams * DECODE_TOKENS / engine.decode(CONTEXT, DECODE_TOKENS, streams, adapters)

    def prefill(adapter: str | None) -> Callable[[int], float]:
        return lambda repeat: PREFILL_TOKENS / engine.prefill(PREFILL_TOKENS, repeat, adapter)

    cases = {
        "decode_lora": (decode(1, None), decode(1, "lora")),
        "decode_dora": (decode(1, None), decode(1, "dora")),
        "streams8_lora": (decode(STREAMS, None), decode(STREAMS, "lora")),
        "streams8_mixed": (decode(STREAMS, None), decode(STREAMS, "lora", None, "dora")),
        "prefill_lora": (prefill(None), prefill("lora")),
    }
    figures: dict[str, Any] = {
        "shape": f"{arguments.shape}, {config.num_parameters:,} parameters, {arguments.format}, rank {arguments.rank}",
        "adapter_fp16_mb": round(_num_values(config, arguments.rank) * 2 / 1e6, 1),
        "added_rss_mb": round(added_mb, 1),
    }
    for name, (plain, adapted) in cases.items():
        pairs = [(plain(repeat), adapted(repeat)) for repeat in range(arguments.repeats)]
        figures[f"{name}_tok_s"] = [round(statistics.median(side), 1) for side in zip(*pairs, strict=True)]
        figures[f"{name}_best_tok_s"] = [round(max(side), 1) for side in zip(*pairs, strict=True)]
        figures[f"{name}_ratio"] = round(statistics.median(right / left for left, right in pairs), 3)
    return figures


def _random_adapter(config: "ModelConfig", rank: int, *, has_gain: bool) -> "Adapter":
    """Small values, of which speed does not depend."""
    import torch

    from core.model.lora import LowRank
    from core.model.peft_format import linear_shapes

    draw = torch.Generator().manual_seed(0)

    def values(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=draw) * 0.01

    return {
        name: LowRank(values(rank, inputs), values(outputs, rank), 1 + values(outputs) if has_gain else None)
        for name, (outputs, inputs) in linear_shapes(config).items()
    }


def _num_values(config: "ModelConfig", rank: int) -> int:
    from core.model.peft_format import linear_shapes

    return rank * sum(sum(shape) for shape in linear_shapes(config).values())
