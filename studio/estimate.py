"""What a run will take, measured: two real steps at the longest batch in a child process."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.config.train_config import TrainConfig


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and memory of a run; `peak_memory_bytes` None where the steps did not fit into memory."""

    device: str
    peak_memory_bytes: int | None  # of one process
    machine_memory_bytes: int  # that is free for it
    fits: bool
    step_s: float
    num_steps: int
    total_s: float
    tokens_per_s: float
    tokens_per_step: float
    longest_row_tokens: int
    num_parameters: int
    num_trained: int
    problems: tuple[str, ...]  # what the run will leave out


def estimate(
    config: TrainConfig,
    *,
    prepare: Mapping[str, Any] | None = None,
    nproc: int = 1,
    timeout_s: float = 120,
    should_stop: Callable[[], bool] | None = None,
) -> Estimate:
    """Measure two steps of a run. Raises TrainingError when they fail or take too long."""
    raise NotImplementedError
