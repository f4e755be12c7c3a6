"""The one training loop, for every stage.

A strategy gives the weight and the loss sum of each micro batch; the step divides once by the weight of
all of them, clips, sets the scheduled learning rate and updates. Everything else is callbacks.
"""

import math
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch

from core.config.train_config import TrainConfig
from core.data.dataset import Batch
from core.errors import TrainingError
from core.files import write_json
from core.model.checkpoint import free_bytes, save_model
from core.trainer.callbacks import (
    Callback,
    CheckpointCallback,
    MetricsCallback,
    ProgressReporter,
    StepResult,
    StopSignal,
    ValidationCallback,
)
from core.trainer.metrics import MetricsWriter
from core.trainer.run_folder import RunFolder
from core.trainer.schedule import learning_rate_factor
from core.trainer.train_context import TrainContext, build_context


def train(config: TrainConfig, *, resume: bool = False, report: ProgressReporter | None = None) -> Path:
    """Run or resume one stage; returns the folder of the trained model.

    A run that a signal stops has no result yet: it ends with a checkpoint, and that folder is returned.
    Raises ConfigError, DataError, ModelError or TrainingError, each before weights change or with a
    checkpoint on disk.
    """
    run = RunFolder(Path(config.output))
    if (run.config.exists() or run.checkpoint_folders()) and not resume:
        raise TrainingError(f"{run.root} already holds a run.", "Resume it with --resume, or choose another --output.")
    context = build_context(config, resume=resume)
    if report:
        report(_plan(context))
    with closing(_open_metrics(run, context)) as writer, StopSignal(report) as stop:
        callbacks: list[Callback] = [
            ValidationCallback(writer, report),
            CheckpointCallback(),
            MetricsCallback(writer, report),
        ]
        Trainer(context, callbacks).run(stop)
    if not context.is_done:
        newest = run.newest_checkpoint()
        assert newest is not None, "the checkpoint callback saves at the end"
        return newest
    save_model(context.model, run.model, tokenizer=context.tokenizer, extra={"astrai": _origin(context)})
    return run.model


def _plan(context: TrainContext) -> dict[str, object]:
    """What is about to be trained, for the progress display."""
    return {
        "num_parameters": context.model.config.num_parameters,
        "device": context.device.type,
        "first_step": context.step,
        "num_steps": context.num_steps,
        "rows_per_step": context.config.global_batch_size,
        "row_tokens": context.config.max_seq_len,
    }


def _open_metrics(run: RunFolder, context: TrainContext) -> MetricsWriter:
    """Make the run's folder with its config. Raises TrainingError where nothing can be written."""
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        write_json(run.config, context.config.to_dict())
        return MetricsWriter(run.metrics, context.attempt)
    except OSError as exc:
        raise TrainingError(
            f"{run.root} could not be written: {exc} ({free_bytes(run.root) / 1e6:.1f} MB free).",
            "Free some space, or choose another --output.",
        ) from exc


class Trainer:
    """Runs a context's remaining steps."""

    def __init__(self, context: TrainContext, callbacks: Sequence[Callback]) -> None:
        self.context = context
        self.callbacks = callbacks
        self._schedule = context.config.schedule_config

    def run(self, stop: StopSignal) -> None:
        """Step until done or stopped, then let every callback finish."""
        while not self.context.is_done and not stop.is_set:
            result = self.step()
            for callback in self.callbacks:
                callback.after_step(self.context, result)
        for callback in self.callbacks:
            callback.at_end(self.context)

    def step(self) -> StepResult:
        """One optimiser step over `global_batch_size` rows."""
        context, config = self.context, self.context.config
        start = time.perf_counter()
        batches = self._micro_batches()
        weight = sum(context.strategy.weight(batch) for batch in batches)
        if not weight:
            raise TrainingError(
                f"Step {context.step} has no token to learn from.",
                f"{context.train_rows.num_truncated} conversations are longer than {config.max_seq_len} tokens:"
                " raise max_seq_len.",
            )
        loss = sum(self._accumulate(batch, weight) for batch in batches)
        limit = config.max_grad_norm or math.inf
        grad_norm = torch.nn.utils.clip_grad_norm_(context.model.parameters(), limit).item()
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise _divergence(context, loss, grad_norm)
        rate = config.learning_rate * learning_rate_factor(context.step, context.num_steps, self._schedule)
        for optimizer in context.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seconds = time.perf_counter() - start
        context.step += 1
        context.tokens += weight
        context.train_s += seconds
        return StepResult(loss, grad_norm, rate, weight, seconds)

    def _micro_batches(self) -> list[Batch]:
        context, size = self.context, self.context.config.micro_batch_size
        places = context.sampler.step_rows(context.step)
        return [
            context.train_rows.batch(places[first : first + size]).to(context.device)
            for first in range(0, len(places), size)
        ]

    def _accumulate(self, batch: Batch, weight: int) -> float:
        """Add this micro batch's share of the gradient; returns its share of the loss."""
        context = self.context
        with torch.autocast(context.device.type, context.dtype, enabled=context.dtype != torch.float32):
            share = context.strategy.loss(context.model, batch) / weight
        share.backward()  # type: ignore[no-untyped-call]
        return share.item()


def _divergence(context: TrainContext, loss: float, grad_norm: float) -> TrainingError:
    """Why a step cannot be taken. The weights on disk are those before it."""
    message = f"The loss of step {context.step} is {loss}, its gradient's norm {grad_norm}."
    bad = sum(int((~torch.isfinite(parameter)).sum()) for parameter in context.model.parameters())
    if bad and not context.step:
        return TrainingError(
            f"{message} {bad} weights of {context.config.base} are not finite.", "Start from another base."
        )
    rate = context.config.learning_rate
    return TrainingError(message, f"Lower learning_rate (now {rate}) or use precision fp32, then --resume.")


def _origin(context: TrainContext) -> dict[str, object]:
    """Where a trained model comes from, kept in its config.json."""
    return {"stage": context.config.stage, "steps": context.step, "tokens": context.tokens, "base": context.config.base}
