"""What happens beside the steps of a run: metrics, validation, checkpoints.

Gradient clipping and the schedule belong to the step and are in the Trainer.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from core.data.dataset import PackedDataset
from core.data.pairs import PairDataset
from core.model.score import bits_per_byte
from core.trainer.efficiency import peak_flops, train_flops_per_token
from core.trainer.memory import used_memory
from core.trainer.metrics import MetricsWriter, bytes_per_token
from core.trainer.run_folder import save_checkpoint
from core.trainer.tally import Mean, Tally
from core.trainer.train_context import TrainContext

logger = logging.getLogger(__name__)

ProgressReporter = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One finished step. `metrics` holds sums over its updates by name, `loss` among them."""

    metrics: dict[str, Mean]
    grad_norm: float
    learning_rate: float
    num_tokens: int
    seconds: float
    data_wait_s: float
    optimizer_s: float  # of the host: a GPU may go on with it beside the next step

    @property
    def loss(self) -> float:
        """Mean over the terms of the loss, for language modelling nats per token."""
        return float(self.metrics["loss"].total) / float(self.metrics["loss"].weight)


class Callback(Protocol):
    """Called after every step, and once at the end."""

    def after_step(self, context: TrainContext, result: StepResult) -> None: ...

    def at_end(self, context: TrainContext) -> None: ...


class MetricsCallback:
    """Writes a row after the first step and every `log_interval` steps, and hands it to the progress display.

    `data_wait` and `optimizer` are shares of the steps' time; `beside_steps` is the share of all time since the row
    before that went to validating, saving and sampling.
    """

    def __init__(self, context: TrainContext, writer: MetricsWriter, report: ProgressReporter | None) -> None:
        self._writer, self._report = writer, report
        self._peak_flops = peak_flops(context.device, context.dtype)  # while there is memory to measure it in
        self._since: list[StepResult] = []
        self._num_steps, self._seconds = 0, 0.0  # of this attempt, whose pace tells the time to go
        self._since_s = 0.0  # when the last row was written, before the first when its step began

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        if not self._num_steps:
            self._since_s = time.perf_counter() - result.seconds
        self._since.append(result)
        self._num_steps, self._seconds = self._num_steps + 1, self._seconds + result.seconds
        if context.step % context.config.log_interval == 0 or context.is_done or self._num_steps == 1:
            self._write(context)

    def at_end(self, context: TrainContext) -> None:
        if self._since:
            self._write(context)

    def _write(self, context: TrainContext) -> None:
        seconds = sum(result.seconds for result in self._since)
        now = time.perf_counter()
        last, tally = self._since[-1], Tally()
        for result in self._since:
            tally.add(result.metrics)
        row = {
            "time": time.time(),
            **tally.local_means(),
            "learning_rate": last.learning_rate,
            "grad_norm": last.grad_norm,
            "tokens": context.tokens,
            "tokens_per_s": sum(result.num_tokens for result in self._since) / seconds,
            "data_wait": sum(result.data_wait_s for result in self._since) / seconds,
            "optimizer": sum(result.optimizer_s for result in self._since) / seconds,
            "beside_steps": max(1 - seconds / (now - self._since_s), 0.0),
            "efficiency": self._efficiency(context, seconds),
            "memory_bytes": used_memory(context.device),
            "eta_s": (context.num_steps - context.step) * self._seconds / self._num_steps,
        }
        self._since.clear()
        self._since_s = now
        self._writer.write(context.step, **row)
        if self._report:
            self._report({"step": context.step, "num_steps": context.num_steps, **row})

    def _efficiency(self, context: TrainContext, seconds: float) -> float:
        """FLOP/s of the policy's training over the most that this device does."""
        tokens = sum(result.num_tokens for result in self._since)
        flops = train_flops_per_token(
            context.model.config, context.config.max_seq_len, trains_base=context.config.adapter == "none"
        )
        return tokens * flops / seconds / self._peak_flops / context.ranks.world_size


class ValidationCallback:
    """Scores the validation split: mean loss, and bits per byte for text.

    The best score is remembered in the context; after `early_stopping` scores that are no better the run is done.
    """

    def __init__(self, writer: MetricsWriter | None, report: ProgressReporter | None) -> None:
        """Ranks beside the first validate their share of the rows and have no `writer`."""
        self._writer, self._report = writer, report
        self._is_due = False  # the last step was not validated yet

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        self._is_due = True
        interval = context.config.validation_interval
        if interval and context.step % interval == 0:
            self._validate(context)

    def at_end(self, context: TrainContext) -> None:
        if self._is_due and context.is_done:  # a run that was stopped goes on as if it had not been
            self._validate(context)

    def _validate(self, context: TrainContext) -> None:
        if context.validation_rows is None:
            return
        self._is_due = False
        row = validate(context)
        if not row:
            logger.warning("the validation split has no token to learn from")
            return
        context.best.add(context.strategy.score(row), context.step)
        if self._writer:
            self._writer.write(context.step, time=time.time(), **row)
        if self._report:
            self._report({"step": context.step, "num_steps": context.num_steps, **row})


@torch.no_grad()
def validate(context: TrainContext) -> dict[str, float]:
    """`validation_loss` and the strategy's other means, for text `validation_bits_per_byte`; empty without any token.

    Rows are taken evenly over the whole split, whose languages need not be mixed on disk, and as many by each rank.
    """
    rows, config = context.validation_rows, context.config
    assert rows is not None
    available = rows.num_rows(0)
    row_tokens = rows.mean_row_tokens if isinstance(rows, PairDataset) else config.max_seq_len
    limit = min(available, max(int(config.validation_tokens / row_tokens), 1))
    limit = max(limit // context.ranks.world_size, 1) * context.ranks.world_size
    places = context.ranks.share([(0, index * available // limit) for index in range(limit)])
    batches = (
        rows.batch(places[first : first + config.micro_batch_size]).to(context.device)
        for first in range(0, len(places), config.micro_batch_size)
    )
    context.model.eval()
    means = context.parallel.run(context.strategy.validate, context, batches)
    context.model.train()
    values = {f"validation_{name}": value for name, value in means.items()}
    if isinstance(rows, PackedDataset) and rows.is_stream and means:
        num_bytes = bytes_per_token(rows.handler, rows.split)
        values["validation_bits_per_byte"] = bits_per_byte(means["loss"], num_bytes)
    return values


class CheckpointCallback:
    """Saves every `checkpoint_interval_s` seconds, at the best validation if it is to be kept, and at the end."""

    def __init__(self) -> None:
        self._saved_at = time.monotonic()
        self._saved_step = -1

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        is_due = time.monotonic() - self._saved_at >= context.config.checkpoint_interval_s
        is_best = context.config.keep_best and context.best.step == context.step
        if context.ranks.any_true(is_best or (context.ranks.is_first and is_due)):
            self._save(context)

    def at_end(self, context: TrainContext) -> None:
        if context.step != self._saved_step:
            self._save(context)

    def _save(self, context: TrainContext) -> None:
        folder = save_checkpoint(context.run, context.snapshot(), context.ranks)
        if context.ranks.is_first:
            context.run.drop_old_checkpoints(context.config.keep_checkpoints, spare=context.best_checkpoint)
        logger.info("checkpoint %s", folder.name)
        self._saved_at, self._saved_step = time.monotonic(), context.step
