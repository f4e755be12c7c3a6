"""A short copy of a run, watched step by step: `python -m core.trainer.rehearsal RUN/config.json --save-at 3`.

It is the trainer itself with its checkpoints, but that one is written at a step that is told, that with `--die-at`
every process ends by SIGKILL after a step, and that each rank writes down what its steps learnt from:

    RUN/watched-0.jsonl     a row per step: attempt, step, batches (SHA-256 of all tensors), drawn (random numbers)

The random numbers are drawn after each step, as dropout would: a stage that draws none itself shows all the same
whether a resumed run goes on with those that the uninterrupted one has.
"""

import argparse
import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from core.config.train_config import TrainConfig
from core.files import write_json
from core.parallel.program import print_row, run_to_end
from core.parallel.setup import Ranks, join_ranks
from core.trainer.build_context import build_context
from core.trainer.callbacks import Callback, CheckpointCallback, MetricsCallback, StepResult
from core.trainer.metrics import MetricsWriter, append_row
from core.trainer.stop_signal import StopSignal
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer


class WatchedTrainer(Trainer):
    """Writes down what each step learnt from, and random numbers drawn after it."""

    _seen = hashlib.sha256()

    def step(self) -> StepResult:
        self._seen = hashlib.sha256()
        result = super().step()
        context = self.context
        row = {
            "attempt": context.attempt,
            "step": context.step,
            "batches": self._seen.hexdigest(),
            "drawn": _drawn(context),
        }
        append_row(context.run.root / f"watched-{context.ranks.rank}.jsonl", row)
        return result

    def _update(self, batches: Sequence[Any], rate: float) -> Any:
        for batch in batches:
            for tensor in tensors_in(batch):
                self._seen.update(tensor.contiguous().flatten().view(torch.uint8).cpu().numpy().tobytes())
        return super()._update(batches, rate)


def _drawn(context: TrainContext) -> list[float]:
    """A random number of the CPU's, and one of the GPU's where the run has one."""
    devices = {"cpu", context.device.type}
    return [float(torch.rand((), device=device)) for device in sorted(devices)]


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a batch, in the order of its fields."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for name in sorted(batch):
            yield from tensors_in(batch[name])
    elif dataclasses.is_dataclass(batch):
        for field in dataclasses.fields(batch):
            yield from tensors_in(getattr(batch, field.name))


class CheckpointAt(CheckpointCallback):
    """Saves after one step, and at the end."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        if context.step == self._step:
            self._save(context)


class DeathAt:
    """Ends the process after a step, as a failing machine does: nothing is closed, nobody is told."""

    def __init__(self, step: int) -> None:
        self._step = step

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        if context.step == self._step:
            psutil.Process().kill()

    def at_end(self, context: TrainContext) -> None:
        """The run ended before."""


def rehearse(config: TrainConfig, ranks: Ranks, *, resume: bool, save_at: int, die_at: int | None) -> None:
    """Run or resume the copy as one of its ranks."""
    context = build_context(config, resume=resume, ranks=ranks)
    callbacks: list[Callback] = [CheckpointAt(save_at)]
    if ranks.is_first:
        context.run.root.mkdir(parents=True, exist_ok=True)
        write_json(context.run.config, config.to_dict())
    with closing(MetricsWriter(context.run.metrics, context.attempt)) if ranks.is_first else nullcontext() as writer:
        if writer is not None:
            callbacks.append(MetricsCallback(context, writer, print_row))
        if die_at is not None:
            callbacks.append(DeathAt(die_at))
        WatchedTrainer(context, callbacks).run(StopSignal())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--save-at", type=int, required=True)
    parser.add_argument("--die-at", type=int)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()

    def work() -> None:
        config = TrainConfig.from_json(arguments.config)
        with join_ranks(config.device) as ranks:
            if not ranks.is_first:
                logging.disable(logging.WARNING)  # every rank would say the same
            rehearse(config, ranks, resume=arguments.resume, save_at=arguments.save_at, die_at=arguments.die_at)

    return run_to_end(work)


if __name__ == "__main__":
    raise SystemExit(main())
