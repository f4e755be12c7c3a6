"""Figures of a run before it begins: `python -m core.trainer.preflight RUN/config.json --output FOLDER`.

The same rows give the same loss and gradient however a step is split, so one step is made in several ways: row by
row, many rows at a time, with the blocks computed again backwards, each document alone, and on two ranks
(under torchrun). Before that a few real steps show whether numbers stay finite and what they cost.
Nothing is judged here: the figures go to FOLDER/alone.json and FOLDER/ranks.json.

    FOLDER/gradients.safetensors    of the step made row by row on the CPU, which the two ranks compare with theirs
"""

import argparse
import dataclasses
import gc
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.config.rl_options import STAGES as RL_STAGES
from core.config.train_config import TrainConfig
from core.data.dataset import IGNORED, Batch
from core.data.pairs import PairBatch, PairDataset
from core.errors import TrainingError, is_out_of_memory
from core.files import read_json_object, write_json
from core.model.device import resolve_device
from core.parallel.failure import Cause
from core.parallel.program import print_row, run_to_end
from core.parallel.setup import Ranks, join_ranks
from core.parallel.wrap import whole
from core.trainer.build_context import build_context
from core.trainer.callbacks import StepResult
from core.trainer.memory import used_memory
from core.trainer.optimizer import named_parameters
from core.trainer.stop_signal import StopSignal
from core.trainer.tally import Tally
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer

GRADIENTS = "gradients.safetensors"
# A tensor whose gradient is this much smaller than the whole is measured against the whole: it is rounding alone.
SMALL = 1e-3
# A loss that is smaller is nothing by construction, as that of a policy which learns from what it has just drawn.
SMALL_LOSS = 0.1

Gradients = dict[str, Tensor]


class GradientRecorder:
    """Stands where an optimiser does and keeps the gradient that it is given."""

    def __init__(self, context: TrainContext) -> None:
        self.parameters = named_parameters(context.trained)
        self.param_groups: list[dict[str, Any]] = []
        self.gradients: Gradients = {}

    def step(self) -> None:
        self.gradients = {
            name: whole(p.grad).clone().cpu() for name, p in self.parameters.items() if p.grad is not None
        }

    def zero_grad(self, *, set_to_none: bool) -> None:
        assert set_to_none


class _Results:
    """A callback that keeps what steps gave and the most memory that was seen."""

    def __init__(self) -> None:
        self.steps: list[StepResult] = []
        self.memory_bytes = 0

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        self.steps.append(result)
        self.memory_bytes = max(self.memory_bytes, used_memory(context.device))

    def at_end(self, context: TrainContext) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was computed and not made: its loss, its gradient, and how many batches the model read."""

    loss: float
    gradients: Gradients
    num_batches: int


class OneStepTrainer(Trainer):
    """Counts its batches."""

    num_batches = 0

    def _accumulate(self, batch: Any, tally: Tally) -> None:
        self.num_batches += 1
        super()._accumulate(batch, tally)


class UnpackedTrainer(OneStepTrainer):
    """Gives the model each document, or pair, in a row of its own."""

    def _micro_batches(self, step: int) -> list[Any]:
        return [part for batch in super()._micro_batches(step) for part in unpacked(batch, self.context.train_rows)]


def unpacked(batch: Batch | PairBatch, rows: Any) -> list[Any]:
    """The documents of packed rows, or the pairs, one by one."""
    if isinstance(batch, PairBatch):
        assert isinstance(rows, PairDataset)
        return rows.unpacked(batch)
    found = []
    for row in range(len(batch.input_ids)):
        for document in range(int(batch.document_ids[row].max()) + 1):
            here = batch.document_ids[row] == document
            labels = batch.labels[row][here]
            if count := int((labels != IGNORED).sum()):
                ids, positions = batch.input_ids[row][here][None], batch.position_ids[row][here][None]
                found.append(Batch(ids, labels[None], positions, torch.zeros_like(ids), ids.numel(), count))
    return found


def one_step(config: TrainConfig, ranks: Ranks, trainer_class: type[OneStepTrainer] = OneStepTrainer) -> Step:
    """The loss of the first step and the gradient of its mean, which nothing is stepped by."""
    context = build_context(config, resume=False, ranks=ranks)
    recorder, results = GradientRecorder(context), _Results()
    context.optimizers = [recorder]  # type: ignore[list-item]
    trainer = trainer_class(context, [results])
    trainer.run(StopSignal())
    return Step(results.steps[0].loss, recorder.gradients, trainer.num_batches)


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> tuple[float, str]:
    """The largest relative difference of two gradients, by tensor: its norm over the tensor's; and which it is."""
    total = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in expected.values()))
    worst = (0.0, "")
    for name, tensor in expected.items():
        if name not in found:
            return math.inf, name
        error = float((found[name].double() - tensor.double()).norm())
        worst = max(worst, (error / (float(tensor.double().norm()) + SMALL * total + 1e-30), name))
    return worst


def try_steps(config: TrainConfig) -> dict[str, Any]:
    """A few real steps in the run's own arithmetic: losses, gradient norms, what is not finite, memory and time."""
    context, results = build_context(config, resume=False), _Results()
    Trainer(context, [results]).run(StopSignal())
    parameters = list(named_parameters(context.trained).values())
    steps = results.steps
    return {
        "losses": [step.loss for step in steps],
        "grad_norms": [step.grad_norm for step in steps],
        "num_not_finite": sum(int((~torch.isfinite(parameter)).sum()) for parameter in parameters),
        "largest_weight": max(float(parameter.detach().abs().max()) for parameter in parameters),
        "precision": str(context.dtype).removeprefix("torch."),
        "device": context.device.type,
        "num_parameters": context.model.config.num_parameters,
        "vocab_size": context.model.config.vocab_size,
        "row_s": min(step.seconds for step in steps) / config.global_batch_size,
        "memory_bytes": results.memory_bytes,
        "left_out": context.train_rows.problems,
    }


def figures_alone(trial: TrainConfig, config: TrainConfig, folder: Path) -> None:
    """Everything that one process can find out."""
    found: dict[str, Any] = {}
    try:
        found["trial"] = try_steps(trial)
    except TrainingError as exc:  # no number, or no memory: what follows would meet the same
        write_json(folder / "alone.json", {"error": Cause.of(exc).to_dict(), "is_memory": is_out_of_memory(exc)})
        return
    _progress(1, "trial")
    gc.collect()
    by_row = dataclasses.replace(config, micro_batch_size=1)
    expected = one_step(by_row, Ranks.alone())
    found["loss"] = expected.loss
    _progress(2, "row by row")
    other = dataclasses.replace(by_row, gradient_checkpointing=not config.gradient_checkpointing)
    ways: dict[str, tuple[TrainConfig, type[OneStepTrainer]]] = {
        "micro_batches": (config, OneStepTrainer),
        "gradient_checkpointing": (other, OneStepTrainer),
    }
    if config.stage not in RL_STAGES:
        ways["packing"] = (by_row, UnpackedTrainer)
    for number, (name, (way, trainer_class)) in enumerate(ways.items(), start=3):
        found[name] = _compared(expected, one_step(way, Ranks.alone(), trainer_class))
        _progress(number, name)
    if resolve_device(config.device).type != "cpu":
        expected = one_step(dataclasses.replace(by_row, device="cpu"), Ranks.alone())
    save_file({name: tensor.contiguous() for name, tensor in expected.gradients.items()}, folder / GRADIENTS)
    write_json(folder / "alone.json", {**found, "cpu_loss": expected.loss})


def figures_of_ranks(config: TrainConfig, ranks: Ranks, folder: Path) -> None:
    """The same step on these ranks, beside what one process gave."""
    step = one_step(config, ranks)
    if ranks.is_first:
        loss = read_json_object(folder / "alone.json")["cpu_loss"]
        figures = _compared(Step(loss, load_file(folder / GRADIENTS), config.global_batch_size), step)
        write_json(folder / "ranks.json", {**figures, "num_ranks": ranks.world_size})


def _compared(expected: Step, found: Step) -> dict[str, Any]:
    """Both losses, the relative differences of loss and gradient, and into how many batches each step was split."""
    error, name = difference(expected.gradients, found.gradients)
    return {
        "losses": [expected.loss, found.loss],
        "loss_difference": abs(found.loss - expected.loss) / max(abs(expected.loss), SMALL_LOSS),
        "gradient_difference": error,
        "worst_tensor": name,
        "num_batches": [expected.num_batches, found.num_batches],
    }


def _progress(number: int, phase: str) -> None:
    print_row({"done": number, "phase": phase})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--trial", type=Path, help="config of the real steps; without it this is one of several ranks")
    arguments = parser.parse_args()

    def work() -> None:
        config, folder = TrainConfig.from_json(arguments.config), arguments.output
        if arguments.trial is not None:
            figures_alone(TrainConfig.from_json(arguments.trial), config, folder)
            return
        with join_ranks(config.device) as ranks:
            if not ranks.is_first:
                logging.disable(logging.WARNING)  # every rank would say the same
            figures_of_ranks(config, ranks, folder)

    return run_to_end(work)


if __name__ == "__main__":
    raise SystemExit(main())
