"""Quick, balanced, thorough: a config for somebody who has never trained a model, fitted to model, data and machine.

Learning rates are those in common use: about 1e-3 falling with size for fresh models, 1e-4 and less for all weights of
a trained one, some ten times that for adapters (Hu et al. 2021), 1e-6 and more in preference training (Rafailov et al.
2023). Memory is reckoned only as far as the choice of a batch needs it; what a run really takes `estimate` measures.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from core.config.model_config import ModelConfig
from core.config.rl_options import STAGES as RL_STAGES
from studio.datasets import DataReport, Lengths

NAMES = ("quick", "balanced", "thorough")
PAIR_STAGES = ("rm", "dpo")
# fp32 weights, gradient and two averages; of a frozen base the weights.
TRAINED_BYTES, FROZEN_BYTES, QUANTISED_BYTES = 16, 4, 1.2
# What a block keeps of a token for its backward pass: so many times its width and that of its feed-forward.
KEPT_WIDTHS, KEPT_FFN_WIDTHS = 12, 4
# The share of the memory that a run may fill: chat and the system want some.
USABLE = 0.6
# The share of the rows that max_seq_len must hold whole, and characters of a token where lengths are in characters.
WHOLE_ROWS, CHARACTERS_OF_TOKEN = 0.95, 3
LONGEST = {"quick": 256, "balanced": 512, "thorough": 1024}
ROWS_OF_STEP = {"quick": 16, "balanced": 32, "thorough": 64}
EPOCHS = {"quick": 1.0, "balanced": 2.0, "thorough": 3.0}
QUICK_STEPS = 100
RL_STEPS = {"quick": 30, "balanced": 200, "thorough": 1000}
NEW_TOKENS = {"quick": 48, "balanced": 128, "thorough": 256}
# By the number of parameters, up to which a rate is taken.
FRESH_RATES = ((50e6, 1e-3), (200e6, 6e-4), (float("inf"), 3e-4))
RATES = {"pt": 1e-4, "sft": 5e-5, "rm": 2e-5, "dpo": 2e-6, "ppo": 1e-6, "grpo": 1e-6}
ADAPTER_RATES = {"pt": 5e-4, "sft": 2e-4, "dpo": 5e-5, "ppo": 1e-5, "grpo": 1e-5}
# A model this small has little to lose and learns from few rows: it takes a higher rate.
SMALL_PARAMETERS, SMALL_FACTOR = 100e6, 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What a preset must know of the machine."""

    memory_bytes: int
    gpu_memory_bytes: int = 0  # 0 trains on the CPU


def preset(  # noqa: PLR0913 - what it is fitted to, by keyword
    name: str,
    stage: str,
    *,
    shape: ModelConfig,
    machine: Machine,
    report: DataReport | None = None,
    is_fresh: bool = False,
    is_quantized: bool = False,
) -> dict[str, Any]:
    """Values for `TrainConfig` without stage, data, base and output.

    `is_fresh` says that there is no base, `is_quantized` that its weights are quantised: adapters keep them
    as they are.
    """
    memory = (machine.gpu_memory_bytes or machine.memory_bytes) * USABLE
    adapter = {} if is_fresh or stage == "rm" else _adapter(name, stage, shape, memory, is_quantized=is_quantized)
    scale = 2 if machine.gpu_memory_bytes else 1
    length = _length(name, stage, scale * LONGEST[name], shape, report)
    size = _batches(name, stage, shape, memory - _kept_bytes(shape, adapter), length, scale)
    values: dict[str, Any] = {"max_seq_len": length, **size, **adapter}
    steps = _steps(stage, length, size["global_batch_size"], report)
    values |= _duration(name, stage, steps)
    values["learning_rate"] = _rate(stage, shape, has_adapter=bool(adapter), is_fresh=is_fresh)
    values["schedule"] = {"kind": "wsd"} if stage == "pt" and is_fresh else {"warmup_ratio": 0.05}
    values |= _watching(name, stage, values.get("max_steps") or round(steps * values.get("epochs", 1.0)))
    if stage in RL_STAGES:
        values |= {"max_new_tokens": min(NEW_TOKENS[name], length // 2), "num_generations": 4 if name == "quick" else 8}
    return values


def _adapter(name: str, stage: str, shape: ModelConfig, memory: float, *, is_quantized: bool) -> dict[str, Any]:
    """LoRA where all weights do not fit, beside quantised ones, and for preferences but when it is to be thorough."""
    models = 2 if stage in ("dpo", "ppo", "grpo") else 1  # a reference stands beside the policy
    whole = shape.num_parameters * (TRAINED_BYTES + (models - 1) * FROZEN_BYTES)
    wants_adapter = stage in ("dpo", *RL_STAGES) and name != "thorough"
    if not is_quantized and not wants_adapter and whole < memory / 2:
        return {}
    rank = {"quick": 8, "balanced": 16, "thorough": 32}[name]
    values: dict[str, Any] = {"adapter": "lora", "lora_rank": rank, "lora_alpha": 2.0 * rank}
    if not is_quantized and shape.num_parameters * FROZEN_BYTES > memory / 2:
        values["base_quantization"] = "int8"
    return values


def _kept_bytes(shape: ModelConfig, adapter: Mapping[str, Any]) -> float:
    """Of weights and what belongs to them."""
    each = TRAINED_BYTES if not adapter else QUANTISED_BYTES if "base_quantization" in adapter else FROZEN_BYTES
    return shape.num_parameters * each


def _length(name: str, stage: str, longest: int, shape: ModelConfig, report: DataReport | None) -> int:
    """A power of two that holds nearly every row whole, up to a limit; a stream of text fills any."""
    limit = min(longest, shape.max_position_embeddings)
    if stage == "pt" or report is None or not report.lengths.counts:
        return limit
    wanted = _holding(report.lengths) + (NEW_TOKENS[name] if stage in RL_STAGES else 0)
    power = 64
    while power < wanted:
        power *= 2
    return max(min(power, limit), 8)


def _holding(lengths: Lengths) -> int:
    """The bin's end below which so many rows are."""
    total = sum(lengths.counts)
    seen = accumulate(lengths.counts)
    end = next(end for end, count in zip(lengths.edges[1:], seen, strict=True) if count >= WHOLE_ROWS * total)
    end = min(end, lengths.longest + 1)
    return end if lengths.unit == "tokens" else -(-end // CHARACTERS_OF_TOKEN)


def _batches(name: str, stage: str, shape: ModelConfig, memory: float, length: int, scale: int) -> dict[str, int]:
    """Rows of a step, and at once as many as memory has room for, in powers of two."""
    rows = ROWS_OF_STEP[name] * (1 if stage in (*PAIR_STAGES, *RL_STAGES) else scale)
    rows = rows // 2 if stage in (*PAIR_STAGES, *RL_STAGES) else rows
    width = KEPT_WIDTHS * shape.hidden_size + KEPT_FFN_WIDTHS * shape.intermediate_size
    row_bytes = 4.0 * length * shape.num_hidden_layers * width * (2 if stage in PAIR_STAGES else 1)
    at_once = 1
    while at_once < min(8 * scale, rows) and 2 * at_once * row_bytes <= memory:
        at_once *= 2
    return {"micro_batch_size": at_once, "global_batch_size": rows}


def _steps(stage: str, length: int, rows_of_step: int, report: DataReport | None) -> int:
    """About how many steps the data has in one pass."""
    if report is None or not report.num_rows:
        return 10 * QUICK_STEPS
    if stage in RL_STAGES:
        return max(report.num_rows // rows_of_step, 1)
    mean = max(report.lengths.median, 1)
    tokens = report.num_rows * (mean if report.lengths.unit == "tokens" else mean / CHARACTERS_OF_TOKEN)
    row = 2 * length if stage in PAIR_STAGES else length
    return max(round(tokens / row / rows_of_step), 1)


def _duration(name: str, stage: str, steps: int) -> dict[str, Any]:
    if stage in RL_STAGES:
        return {"max_steps": RL_STEPS[name]}
    if name == "quick" and steps > QUICK_STEPS:
        return {"max_steps": QUICK_STEPS}
    epochs = EPOCHS[name] if stage == "sft" else max(EPOCHS[name] - 1, 1.0)
    return {"epochs": epochs} if epochs != 1.0 else {}


def _rate(stage: str, shape: ModelConfig, *, has_adapter: bool, is_fresh: bool) -> float:
    if is_fresh:
        return next(rate for limit, rate in FRESH_RATES if shape.num_parameters <= limit)
    if has_adapter:
        return ADAPTER_RATES[stage]
    return RATES[stage] * (SMALL_FACTOR if shape.num_parameters < SMALL_PARAMETERS else 1.0)


def _watching(name: str, stage: str, num_steps: int) -> dict[str, Any]:
    """About ten validations, and texts to read with each; thorough keeps the best."""
    interval = max(num_steps // 10, 5)
    values: dict[str, Any] = {"validation_interval": interval, "log_interval": max(min(num_steps // 100, 10), 1)}
    if stage != "rm":
        values["sample_interval"] = interval
    if name == "thorough":
        values |= {"keep_best": True, "early_stopping": 4}
    return values
