"""What happens beside the steps of a run: metrics, validation, checkpoints, a user's stop.

Gradient clipping and the schedule belong to the step and are in the Trainer.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, Self

import torch

from core.model.score import bits_per_byte
from core.trainer.metrics import MetricsWriter, bytes_per_token
from core.trainer.run_folder import save_checkpoint
from core.trainer.train_context import TrainContext

logger = logging.getLogger(__name__)

ProgressReporter = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One finished optimiser step. `loss` is the mean over its tokens in nats."""

    loss: float
    grad_norm: float
    learning_rate: float
    num_tokens: int
    seconds: float


class Callback(Protocol):
    """Called after every step, and once at the end."""

    def after_step(self, context: TrainContext, result: StepResult) -> None: ...

    def at_end(self, context: TrainContext) -> None: ...


class MetricsCallback:
    """Writes a row after the first step and every `log_interval` steps, and hands it to the progress display."""

    def __init__(self, writer: MetricsWriter, report: ProgressReporter | None) -> None:
        self._writer, self._report = writer, report
        self._since: list[StepResult] = []
        self._has_written = False

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        self._since.append(result)
        if context.step % context.config.log_interval == 0 or context.is_done or not self._has_written:
            self._write(context)

    def at_end(self, context: TrainContext) -> None:
        if self._since:
            self._write(context)

    def _write(self, context: TrainContext) -> None:
        tokens = sum(result.num_tokens for result in self._since)
        seconds = sum(result.seconds for result in self._since)
        last = self._since[-1]
        row = {
            "time": time.time(),
            "loss": sum(result.loss * result.num_tokens for result in self._since) / tokens,
            "learning_rate": last.learning_rate,
            "grad_norm": last.grad_norm,
            "tokens": context.tokens,
            "tokens_per_s": tokens / seconds,
            "eta_s": (context.num_steps - context.step) * context.train_s / context.step,
        }
        self._since.clear()
        self._has_written = True
        self._writer.write(context.step, **row)
        if self._report:
            self._report({"step": context.step, "num_steps": context.num_steps, **row})


class ValidationCallback:
    """Scores the validation split: mean loss, and bits per byte for text."""

    def __init__(self, writer: MetricsWriter, report: ProgressReporter | None) -> None:
        self._writer, self._report = writer, report
        self._validated_step = -1

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        interval = context.config.validation_interval
        if interval and context.step % interval == 0:
            self._validate(context)

    def at_end(self, context: TrainContext) -> None:
        if context.step != self._validated_step:
            self._validate(context)

    def _validate(self, context: TrainContext) -> None:
        if context.validation_rows is None:
            return
        self._validated_step = context.step
        row = validate(context)
        if not row:
            logger.warning("the validation split has no token to learn from")
            return
        self._writer.write(context.step, time=time.time(), **row)
        if self._report:
            self._report({"step": context.step, "num_steps": context.num_steps, **row})


@torch.no_grad()
def validate(context: TrainContext) -> dict[str, float]:
    """`validation_loss` (nats per token) and for text `validation_bits_per_byte`; empty without any token.

    Rows are taken evenly over the whole split, whose languages need not be mixed on disk.
    """
    rows = context.validation_rows
    assert rows is not None
    size = context.config.micro_batch_size
    available = rows.num_rows(0)
    limit = min(available, max(context.config.validation_tokens // rows.max_seq_len, 1))
    places = [(0, index * available // limit) for index in range(limit)]
    total, weight = 0.0, 0
    context.model.eval()
    for first in range(0, limit, size):
        batch = rows.batch(places[first : first + size]).to(context.device)
        with torch.autocast(context.device.type, context.dtype, enabled=context.dtype != torch.float32):
            total += context.strategy.loss(context.model, batch).item()
        weight += context.strategy.weight(batch)
    context.model.train()
    if not weight:
        return {}
    values = {"validation_loss": total / weight}
    if rows.is_stream:
        num_bytes = weight * bytes_per_token(rows.handler, rows.split)
        values["validation_bits_per_byte"] = bits_per_byte(total, num_bytes)
    return values


class CheckpointCallback:
    """Saves every `checkpoint_interval_s` seconds and at the end."""

    def __init__(self) -> None:
        self._saved_at = time.monotonic()
        self._saved_step = -1

    def after_step(self, context: TrainContext, result: StepResult) -> None:
        if time.monotonic() - self._saved_at >= context.config.checkpoint_interval_s:
            self._save(context)

    def at_end(self, context: TrainContext) -> None:
        if context.step != self._saved_step:
            self._save(context)

    def _save(self, context: TrainContext) -> None:
        folder = save_checkpoint(
            context.run,
            context.model,
            context.optimizers,
            context.tokenizer,
            state=context.state(),
            keep=context.config.keep_checkpoints,
        )
        logger.info("checkpoint %s", folder.name)
        self._saved_at, self._saved_step = time.monotonic(), context.step


class StopSignal:
    """Turns SIGINT and SIGTERM into an orderly end after the current step.

    A second signal ends the process at once. Outside the main thread it only offers `request`.
    """

    def __init__(self, report: ProgressReporter | None = None) -> None:
        """`report` is told {"stopping": True} when the first signal comes."""
        self._report = report
        self._event = threading.Event()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def request(self) -> None:
        self._event.set()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        logger.warning("stopping after this step; again to stop at once")
        self._event.set()
        if self._report:
            self._report({"stopping": True})
