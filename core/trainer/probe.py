"""`python -m core.trainer.probe CONFIG.json`: what a run will take, by a few real steps at its longest batch.

The parts of the run are built as it builds them itself and stepped by its own Trainer, on the rows that take most
memory; nothing of the run is written. Under torchrun the ranks share the steps as those of the run do. The result is
one JSON line on stdout, the fields of `Measured`.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.config.rl_options import STAGES as RL_STAGES
from core.config.train_config import TrainConfig
from core.data.pairs import PairDataset
from core.errors import AssistantError, packed
from core.model.device import free_memory_bytes
from core.parallel.failure import end_rank
from core.parallel.priority import asks_for_background, lower_priority
from core.parallel.program import print_row
from core.parallel.setup import Ranks, join_ranks
from core.trainer.build_context import build_context
from core.trainer.memory import peak_memory
from core.trainer.parameters import num_trained
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer

Counts = NDArray[np.int64]
WARM_UP_STEPS, MEASURED_STEPS = 1, 2
# A first step that takes longer is the measurement: there will be no other.
LONG_STEP_S = 15.0
# Rows of the epoch that the longest are sought among.
MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What the steps took, and how many the run has."""

    device: str
    peak_memory_bytes: int  # on a CPU of all ranks together, on GPUs of the one that takes most
    free_memory_bytes: int  # before the run was built
    step_s: float  # of a step as the run has them, on the mean
    num_steps: int
    rows_per_epoch: int
    tokens_per_step: float
    longest_row_tokens: int
    num_parameters: int
    num_trained: int
    problems: list[str]


class ProbeTrainer(Trainer):
    """Takes the same micro batches in every step, and the time of each."""

    def __init__(self, context: TrainContext, micro_batches: Sequence[Sequence[int]]) -> None:
        """`micro_batches` are rows of the first epoch, by micro batch."""
        self._chosen = micro_batches
        self.micro_s: list[float] = []
        context.num_steps = WARM_UP_STEPS + MEASURED_STEPS + 1
        super().__init__(context, [])

    def measure(self) -> tuple[float, float]:
        """Seconds of a micro batch, and of the rest of a step. The first step alone counts if it is a long one."""
        steps, micro, ranks = [], [], self.context.ranks
        with self._rows:
            for number in range(WARM_UP_STEPS + MEASURED_STEPS):
                self.micro_s.clear()
                start = time.perf_counter()
                with self._guarded():
                    self.step()
                _wait_for(self.context.device)
                seconds = time.perf_counter() - start
                is_long = ranks.any_true(seconds > LONG_STEP_S)
                if number >= WARM_UP_STEPS or is_long:
                    steps.append(seconds - sum(self.micro_s))
                    micro += self.micro_s
                if is_long:
                    break
        return statistics.fmean(micro), max(statistics.median(steps), 0.0)

    def _micro_batches(self, step: int) -> list[Any]:
        rows = self.context.train_rows
        batches = [rows.batch([(0, row) for row in chosen]) for chosen in self._chosen]
        return [batch.pin_memory() for batch in batches] if self.context.device.type == "cuda" else batches

    def _accumulate(self, batch: Any, tally: Tally) -> None:
        start = time.perf_counter()
        super()._accumulate(batch, tally)
        _wait_for(self.context.device)
        self.micro_s.append(time.perf_counter() - start)


def probe(config: TrainConfig, *, ranks: Ranks | None = None) -> Measured:
    """Measure a run that `ranks` share. Raises what building it or stepping it raises."""
    ranks = ranks or Ranks.alone()
    device = ranks.device(config.device)
    free_bytes = free_memory_bytes(device)
    context = build_context(replace(config, cache_reference=False), resume=False, ranks=ranks)
    if config.cache_reference:
        _forget_reference(context)
    num_steps, size = context.num_steps, config.micro_batch_size
    tokens = context.train_rows.row_tokens(0)[:MAX_ROWS]
    accumulated = max(config.global_batch_size // size // ranks.world_size, 1)
    if config.stage in RL_STAGES:
        step_s, tokens_per_step = _measure_rollouts(context, tokens, accumulated)
    else:
        trainer = ProbeTrainer(context, [_longest(tokens, size)] * min(accumulated, 2))
        micro_s, rest_s = trainer.measure()
        step_s = accumulated * micro_s * _mean_share(tokens, size) + rest_s
        tokens_per_step = float(tokens.mean()) * config.global_batch_size
    peak = peak_memory(device)
    peaks = [int(values) for values in ranks.gather(torch.tensor([peak]))]
    return Measured(
        device=device.type,
        peak_memory_bytes=sum(peaks) if device.type == "cpu" else max(peaks),
        free_memory_bytes=free_bytes,
        step_s=step_s,
        num_steps=num_steps,
        rows_per_epoch=context.train_rows.num_rows(0),
        tokens_per_step=tokens_per_step,
        longest_row_tokens=int(tokens.max()),
        num_parameters=context.model.config.num_parameters,
        num_trained=num_trained(context.model),
        problems=context.train_rows.problems,
    )


def _measure_rollouts(context: TrainContext, tokens: Counts, accumulated: int) -> tuple[float, float]:
    """Seconds and tokens of a step that draws completions.

    As many are drawn at once as the run draws at once, for the time of one falls with their number: the longest
    prompts, which take most memory, and others of every length.
    """
    config = context.config
    at_once = -(-config.rollout_batch_size // (config.num_generations * config.micro_batch_size))
    count = min(accumulated, max(2, config.num_minibatches, at_once))
    longest = _longest(tokens, config.micro_batch_size)
    others = np.argsort(tokens, kind="stable")[np.linspace(0, len(tokens) - 1, count * len(longest)).astype(int)]
    rest = others[: (count - 1) * len(longest)].reshape(-1, len(longest)).tolist()
    trainer = ProbeTrainer(context, [longest, *rest])
    micro_s, rest_s = trainer.measure()
    share = accumulated / count
    return (micro_s * len(trainer.micro_s) + rest_s) * share, context.tokens / context.step * share


def _forget_reference(context: TrainContext) -> None:
    """Let go of the reference as a run does that has read its log-probabilities once; any numbers stand for them."""
    assert isinstance(context.train_rows, PairDataset), "the config asks for pairs"
    context.reference = None
    context.train_rows.reference = torch.zeros(context.train_rows.num_pairs, 2)
    context.train_rows.reference_mismatched = torch.zeros(context.train_rows.num_pairs)


def _longest(tokens: Counts, size: int) -> list[int]:
    """The longest rows of the first epoch, the same again where it has fewer."""
    return [int(row) for row in np.resize(np.argsort(tokens, kind="stable")[::-1], size)]


def _mean_share(tokens: Counts, size: int) -> float:
    """What a micro batch takes on the mean, which is as wide as its longest row, of what the longest one takes."""
    count = max(len(tokens) // size, 1) * size
    widths = np.resize(tokens, count).reshape(-1, size).max(axis=1)
    return float(widths.mean() / tokens.max())


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    arguments = parser.parse_args()
    if asks_for_background("0"):
        lower_priority()
    try:
        config = TrainConfig.from_json(arguments.config)
        with join_ranks(config.device) as ranks:
            if not ranks.is_first:
                logging.disable(logging.WARNING)  # every rank would say the same
            measured = probe(config, ranks=ranks)
    except AssistantError as exc:
        print_row({"error": exc.to_dict(), "kind": exc.kind})
        return 1
    if ranks.is_first:
        print_row(asdict(measured) | {"problems": packed(tuple(measured.problems))})
    end_rank()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
