"""The one training loop, for every stage.

A strategy gives the loss sum and the weight of each micro batch; an update divides the gradient once by the
weight of all of them, clips, sets the scheduled learning rate and steps. Everything else is callbacks.
"""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from core.config.train_config import TrainConfig
from core.data.prefetch import Prefetch
from core.errors import Sentence, TrainingError, is_out_of_memory
from core.files import make_folder, write_json
from core.model.checkpoint import free_bytes, load_model
from core.model.folder import is_reward_model
from core.model.heads import load_reward_model
from core.parallel.setup import Ranks
from core.parallel.wrap import whole
from core.trainer.build_context import build_context
from core.trainer.callbacks import (
    Callback,
    CheckpointCallback,
    MetricsCallback,
    ProgressReporter,
    StepResult,
    ValidationCallback,
)
from core.trainer.memory import out_of_memory
from core.trainer.metrics import MetricsWriter
from core.trainer.parameters import load_trained_, num_trained, save_result
from core.trainer.run_folder import RunFolder
from core.trainer.samples import SamplesCallback
from core.trainer.schedule import learning_rate_factor
from core.trainer.stop_signal import StopSignal
from core.trainer.strategy import Loss
from core.trainer.tally import Mean, Tally
from core.trainer.train_context import RewardFunction, TrainContext


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    restart: bool = False,
    ranks: Ranks | None = None,
    report: ProgressReporter | None = None,
    reward: RewardFunction | None = None,
) -> Path:
    """Run or resume one stage, on each of its ranks; returns the folder of the trained model.

    `restart` resumes where there is a checkpoint and else begins again: what torchrun's restarts ask for.
    A run that a signal stops has no result yet: it ends with a checkpoint, and that folder is returned.
    Raises ConfigError, DataError, ModelError or TrainingError, each before weights change or with a
    checkpoint on disk.
    """
    run, ranks = RunFolder(Path(config.output)), ranks or Ranks.alone()
    with _lock(run, ranks):
        return _train(config, run, ranks, resume=resume, restart=restart, report=report, reward=reward)


@contextmanager
def _lock(run: RunFolder, ranks: Ranks) -> Iterator[None]:
    """Keep other processes out of the run's folder. Raises TrainingError when one is in it, on every rank."""
    lock, is_new = FileLock(run.lock, timeout=0), not run.root.exists()
    problem: str | None = None
    if ranks.is_first:
        # A folder that cannot be made or written is told by what is written there first.
        with suppress(OSError):
            make_folder(run.root)
            try:
                lock.acquire()
            except Timeout:
                problem = Sentence("{path} is being trained by another process.", path=str(run.root))
    if problem := ranks.first_problem(problem):
        raise TrainingError("{reason}", "Wait for it or stop it, or choose another --output.", reason=problem)
    try:
        yield
    finally:
        lock.release()
        if ranks.is_first and is_new and not run.config.exists():  # it did not begin, and leaves nothing
            with suppress(OSError):
                run.lock.unlink(missing_ok=True)
                run.root.rmdir()


def _train(  # noqa: PLR0913 - what train is given
    config: TrainConfig,
    run: RunFolder,
    ranks: Ranks,
    *,
    resume: bool,
    restart: bool,
    report: ProgressReporter | None,
    reward: RewardFunction | None,
) -> Path:
    """What `train` does while the folder is its own."""
    if restart:
        resume = ranks.any_true(ranks.is_first and run.newest_checkpoint() is not None)
    elif ranks.is_first and not resume and run.holds_another(config):
        raise TrainingError(
            "{path} already holds a run.", "Resume it with --resume, or choose another --output.", path=run.root
        )
    context = build_context(config, resume=resume, ranks=ranks, reward=reward)
    report = report if ranks.is_first else None
    if report:
        report(_plan(context))
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignal(report))
        writer = stack.enter_context(closing(_open_metrics(run, context))) if ranks.is_first else None
        callbacks: list[Callback] = [ValidationCallback(writer, report)]
        if writer:  # before the checkpoint: whoever goes on from that finds the row of its step
            callbacks.append(MetricsCallback(context, writer, report))
        callbacks.append(CheckpointCallback())
        if writer and config.sample_interval:
            callbacks.append(SamplesCallback(run.samples, report))
        Trainer(context, callbacks).run(stop)
    if not context.is_done:
        return run.checkpoint(context.step)
    if ranks.is_first:
        _save_result(context)
    return run.model


def _save_result(context: TrainContext) -> None:
    """Write the model folder: the best weights where they were kept, else the last."""
    run, source, model = context.run, context.best_checkpoint, context.model
    if context.parallel.is_sharded:  # no rank holds the weights whole
        folder = source or run.checkpoint(context.step)
        load = load_reward_model if is_reward_model(folder) else load_model
        model = load(folder, dtype=torch.float32)
    elif source:
        load_trained_(model, source)
    save_result(model, run.model, tokenizer=context.tokenizer, origin=_origin(context))


def _plan(context: TrainContext) -> dict[str, object]:
    """What is about to be trained, for the progress display."""
    rounded = {"dequantised_from": context.dequantised_from} if context.dequantised_from else {}
    return {
        "stage": context.config.stage,
        **rounded,
        "num_parameters": context.model.config.num_parameters,
        "num_trained": num_trained(context.model),
        "device": context.device.type,
        "num_ranks": context.ranks.world_size,
        "first_step": context.step,
        "num_steps": context.num_steps,
        "rows_per_step": context.config.global_batch_size,
        "row_tokens": context.config.max_seq_len,
        "left_out": context.train_rows.problems,
    }


def _open_metrics(run: RunFolder, context: TrainContext) -> MetricsWriter:
    """Make the run's folder with its config. Raises TrainingError where nothing can be written."""
    try:
        make_folder(run.root)
        write_json(run.config, context.config.to_dict())
        tensorboard = run.tensorboard if context.config.tensorboard else None
        return MetricsWriter(run.metrics, context.attempt, tensorboard=tensorboard)
    except OSError as exc:
        raise TrainingError(
            "{path} could not be written: {reason} ({free:.1f} MB free).",
            "Free some space, or choose another --output.",
            kind="disk_full",
            path=run.root,
            reason=exc,
            free=free_bytes(run.root) / 1e6,
        ) from exc


@dataclass(frozen=True, slots=True)
class _Update:
    """One optimiser update: the mean loss, the gradient's norm before clipping, metrics."""

    loss: Mean
    grad_norm: float
    metrics: dict[str, Mean]
    num_tokens: int  # that the model read, without padding
    optimizer_s: float


class Trainer:
    """Runs a context's remaining steps."""

    def __init__(self, context: TrainContext, callbacks: Sequence[Callback]) -> None:
        self.context = context
        self.callbacks = callbacks
        self._schedule = context.config.schedule_config
        # Rows are read ahead of the step that learns from them.
        self._rows = Prefetch(self._micro_batches, range(context.step, context.num_steps))
        self._parameters = [p for module in context.trained.values() for p in module.parameters() if p.requires_grad]

    def run(self, stop: StopSignal) -> None:
        """Step until done or stopped, then let every callback finish."""
        with self._rows:
            while not self.context.is_done and not self.context.ranks.any_true(stop.is_set):
                with self._guarded():
                    result = self.step()
                    for callback in self.callbacks:
                        callback.after_step(self.context, result)
        with self._guarded():
            for callback in self.callbacks:
                callback.at_end(self.context)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Memory that runs out in a step, or in what follows it, is an error with a remedy."""
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            if not is_out_of_memory(exc):
                raise
            raise out_of_memory(self.context, exc) from exc

    def step(self) -> StepResult:
        """One step: `global_batch_size` rows, and the update or updates that the strategy makes of them."""
        context = self.context
        start = time.perf_counter()
        batches = [batch.to(context.device) for batch in self._rows.take()]
        factor = learning_rate_factor(context.step, context.num_steps, self._schedule)
        rate = context.config.learning_rate * factor
        updates = [self._update(update, rate) for update in context.strategy.updates(context, batches)]
        seconds = time.perf_counter() - start
        num_tokens = context.ranks.total(sum(update.num_tokens for update in updates))
        context.step += 1
        context.tokens += num_tokens
        context.train_s += seconds
        metrics = Tally()
        for update in updates:
            metrics.add({"loss": update.loss, **update.metrics})
        return StepResult(
            metrics=metrics.local_totals(),
            grad_norm=updates[-1].grad_norm,
            learning_rate=rate,
            num_tokens=num_tokens,
            seconds=seconds,
            data_wait_s=self._rows.wait_s,
            optimizer_s=sum(update.optimizer_s for update in updates),
        )

    def _micro_batches(self, step: int) -> list[Any]:
        """The rows of a step; for a GPU in memory that it reads by itself."""
        context, size = self.context, self.context.config.micro_batch_size
        places = context.ranks.share(context.sampler.step_rows(step))
        batches = [context.train_rows.batch(places[first : first + size]) for first in range(0, len(places), size)]
        return [batch.pin_memory() for batch in batches] if context.device.type == "cuda" else batches

    def _update(self, batches: Sequence[Any], rate: float) -> _Update:
        """Accumulate the gradient of the micro batches and step."""
        context, tally = self.context, Tally()
        for number, batch in enumerate(batches, start=1):
            with context.parallel.micro_batch(is_last=number == len(batches)):
                self._accumulate(batch, tally)
        metrics = tally.totals(context.ranks)
        loss = metrics.pop("loss")
        if not loss.weight:
            raise _nothing_to_learn(context)
        scale = context.ranks.world_size / float(loss.weight)
        grad_norm = self._scale_and_clip(scale)
        mean = float(loss.total) / float(loss.weight)
        if not (math.isfinite(mean) and math.isfinite(grad_norm)):
            raise _divergence(context, mean, grad_norm)
        start = time.perf_counter()
        for optimizer in context.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        optimizer_s = time.perf_counter() - start
        num_tokens = sum(batch.num_tokens for batch in batches)
        return _Update(loss, grad_norm, metrics, num_tokens, optimizer_s)

    def _accumulate(self, batch: Any, tally: Tally) -> None:
        """Add the gradient of this micro batch's loss sum."""
        total, loss = self.context.parallel.run(self._loss, batch)
        total.backward()  # type: ignore[no-untyped-call]
        tally.add({"loss": Mean(total, loss.weight), **loss.metrics})

    def _loss(self, batch: Any) -> tuple[Tensor, Loss]:
        """The sum stands beside the rest, where FSDP2 finds it and hooks the backward pass."""
        with self.context.autocast():
            loss = self.context.strategy.loss(self.context, batch)
        return loss.total, loss

    def _scale_and_clip(self, scale: float) -> float:
        """Turn the sum's gradient into the mean's, clipped to `max_grad_norm`; returns its norm before that."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = float(whole(torch.nn.utils.get_total_norm(gradients))) * scale
        limit = self.context.config.max_grad_norm or math.inf
        factor = scale * min(1.0, limit / (norm + 1e-6))
        if math.isfinite(factor):
            torch._foreach_mul_(gradients, factor)
        return norm


def _nothing_to_learn(context: TrainContext) -> TrainingError:
    left_out = tuple(context.train_rows.problems) or (Sentence("its rows carry no label"),)
    return TrainingError(
        "Step {step} has no token to learn from: {left_out}.",
        "Raise max_seq_len.",
        kind="data",
        step=context.step,
        left_out=left_out,
    )


def _divergence(context: TrainContext, loss: float, grad_norm: float) -> TrainingError:
    """Why a step cannot be taken. The weights on disk are those before it."""
    reason = Sentence(
        "The loss of step {step} is {loss}, its gradient's norm {norm}.", step=context.step, loss=loss, norm=grad_norm
    )
    bad = sum(int((~torch.isfinite(whole(parameter))).sum()) for parameter in context.model.parameters())
    if bad and not context.step:
        return TrainingError(
            "{reason} {count} weights of {path} are not finite.",
            "Start from another base.",
            kind="nan",
            reason=reason,
            count=bad,
            path=context.config.base,
        )
    return TrainingError(
        "{reason}",
        "Lower learning_rate (now {rate}) or use precision fp32, then --resume.",
        kind="nan",
        reason=reason,
        rate=context.config.learning_rate,
    )


def _origin(context: TrainContext) -> dict[str, object]:
    """Where a trained model comes from, kept in its config.json."""
    rounded = {"dequantised_from": context.dequantised_from} if context.dequantised_from else {}
    return {
        "stage": context.config.stage,
        **rounded,
        "steps": context.step,
        "tokens": context.tokens,
        "base": context.config.base,
        "parent_hash": context.parent_hash,
    }
