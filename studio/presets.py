"""Quick, balanced, thorough: values of a config for somebody who has never trained a model."""

from dataclasses import dataclass
from typing import Any

from core.config.model_config import ModelConfig
from studio.datasets import DataReport

NAMES = ("quick", "balanced", "thorough")


@dataclass(frozen=True, slots=True)
class Machine:
    """What a preset must know of the machine."""

    memory_bytes: int
    gpu_memory_bytes: int = 0  # 0: trains on the CPU


def preset(
    name: str, stage: str, *, shape: ModelConfig, machine: Machine, report: DataReport | None = None
) -> dict[str, Any]:
    """Values for `TrainConfig` without data, base and output."""
    raise NotImplementedError
