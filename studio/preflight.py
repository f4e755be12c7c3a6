"""Pre-flight of a run: what a person should know before hours are spent, measured on their own config.

What a step teaches must not hang on how it is split: into micro batches, over ranks, packed or not, with the blocks
computed again or not. That is compared in fp32, where only the order of sums differs; a mean of means, a gradient
that does not cross ranks or documents that see each other differ by far more than the tolerances here. The first
loss must be what an untrained or unchanged model has, real steps must stay finite, and their cost is told.
core/trainer/preflight.py measures.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from core.config.preference_options import WITHOUT_REFERENCE
from core.config.rl_options import STAGES as RL_STAGES
from core.config.train_config import TrainConfig
from core.files import read_json_object, write_json
from core.parallel.failure import Cause
from studio.proof import Check, ProgramError, Report, copy_of, must_run

MODULE = "core.trainer.preflight"
NUM_TRIAL_STEPS = 3
# Rows of a step that is compared, where two ranks can share them evenly.
NUM_ROWS = 8
NUM_RANKS = 2
# Real steps, five ways of one step; stages that roll out pack nothing that could be unpacked.
NUM_PHASES = 6
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
# A fresh model's loss may be this far from a guess among all tokens: its weights are random, not zero.
FRESH_TOLERANCE = 0.1
# The exact first losses of pairs are those of equal models.
EXACT_TOLERANCE = 1e-4
# A parent that is worse than guessing by more than this does not know these tokens.
WORSE_THAN_GUESSING = 1.2
# Weight, gradient and what it is compared with, in fp32.
BYTES_PER_PARAMETER = 12


def preflight(config: TrainConfig, work: Path, *, report: Report) -> list[Check]:
    """Measure and judge. Raises ProgramError when nothing could be measured."""
    progress = _Progress(report, NUM_PHASES - (config.stage in RL_STAGES))
    trial = copy_of(config, work / "trial", num_steps=NUM_TRIAL_STEPS)
    compared = _compared_config(config, work / "compared")
    for name, one in (("trial", trial), ("compared", compared)):
        write_json(work / f"{name}.json", one.to_dict())
    files = [str(work / "compared.json"), "--output", str(work)]
    must_run([MODULE, *files, "--trial", str(work / "trial.json")], work / "alone.log", show=progress.show)
    found = read_json_object(work / "alone.json")
    if "error" in found:
        return [Check.failed("cost" if found["is_memory"] else "finite", Cause.from_dict(found["error"]))]
    checks = [
        _finite(found["trial"]),
        _first_loss(config, found["loss"], found["trial"]["vocab_size"]),
        *(_same(name, found.get(name)) for name in ("micro_batches", "gradient_checkpointing", "packing")),
        _ranks(compared, found["trial"], work),
        _cost(config, found["trial"]),
    ]
    progress.show({"phase": "ranks"})
    return checks


class _Progress:
    """Counts what the programs have done."""

    def __init__(self, report: Report, num_phases: int) -> None:
        self._report, self._num_phases, self._done = report, num_phases, 0

    def show(self, row: Mapping[str, Any]) -> None:
        self._done += 1
        self._report({"step": self._done, "num_steps": self._num_phases, "phase": row["phase"]})


def _compared_config(config: TrainConfig, output: Path) -> TrainConfig:
    """One step in fp32 without clipping, of NUM_ROWS rows in at most as many at a time as the run has."""
    at_once = min(max(config.micro_batch_size, 2), NUM_ROWS)
    unit = math.lcm(at_once, NUM_RANKS * (config.num_minibatches if config.stage in RL_STAGES else 1))
    return copy_of(
        config,
        output,
        num_steps=1,
        precision="fp32",
        max_grad_norm=0.0,
        micro_batch_size=at_once,
        global_batch_size=-(-NUM_ROWS // unit) * unit,
    )


def _finite(trial: Mapping[str, Any]) -> Check:
    """Real steps in the run's own arithmetic gave numbers everywhere, and the loss did not run away."""
    losses = trial["losses"]
    is_finite = not trial["num_not_finite"] and all(map(math.isfinite, (*losses, *trial["grad_norms"])))
    names = ("losses", "grad_norms", "num_not_finite", "largest_weight", "precision")
    return Check("finite", is_finite, {name: trial[name] for name in names})


def _first_loss(config: TrainConfig, loss: float, vocab_size: int) -> Check:
    """The loss before the first step is what a model must have that has learnt nothing yet."""
    expected, tolerance = _expected_loss(config, vocab_size)
    figures = {"loss": loss, "expected": expected, "tolerance": tolerance}
    if expected is None:
        return Check("first_loss", math.isfinite(loss), figures)
    if tolerance is None:  # a parent knows something already: only an upper end is known
        return Check("first_loss", loss <= expected, figures)
    return Check("first_loss", abs(loss - expected) <= tolerance * expected, figures)


def _expected_loss(config: TrainConfig, vocab_size: int) -> tuple[float | None, float | None]:
    """What the first loss must be, and its relative tolerance: None where it is an upper end, or unknown."""
    if config.stage in ("pt", "sft"):
        guess = math.log(vocab_size)
        return (guess, FRESH_TOLERANCE) if config.base is None else (WORSE_THAN_GUESSING * guess, None)
    if config.stage == "dpo" and config.loss not in WITHOUT_REFERENCE:
        equal = {
            "sigmoid": math.log(2),
            "robust": math.log(2),
            "hinge": 1.0,
            "ipo": (0.5 / config.beta) ** 2,
            "kto": (config.kto_chosen_weight + config.kto_rejected_weight) / 4,
        }
        return equal[config.loss], EXACT_TOLERANCE
    return None, None


def _same(name: str, figures: Mapping[str, Any] | None) -> Check:
    """A step made in another way has the loss and the gradient of the one made row by row."""
    if figures is None:
        return Check(name, None, {"reason": "not_in_this_stage"})
    rows, parts = figures["num_batches"]
    if name == "packing" and rows == parts:
        return Check(name, None, {"reason": "nothing_is_packed"})
    passed = figures["loss_difference"] <= LOSS_TOLERANCE and figures["gradient_difference"] <= GRADIENT_TOLERANCE
    tolerances = {"loss_tolerance": LOSS_TOLERANCE, "gradient_tolerance": GRADIENT_TOLERANCE}
    return Check(name, passed, {**figures, **tolerances})


def _ranks(config: TrainConfig, trial: Mapping[str, Any], work: Path) -> Check:
    """Two processes on the CPU make the step that one makes."""
    needed, free = NUM_RANKS * BYTES_PER_PARAMETER * trial["num_parameters"], psutil.virtual_memory().available
    if needed > free:
        return Check("ranks", None, {"reason": "no_memory", "needed_bytes": needed, "free_bytes": free})
    path, log = work / "ranks-config.json", work / "ranks.log"
    write_json(path, {**config.to_dict(), "device": "cpu", "micro_batch_size": 1, "output": str(work / "ranks")})
    try:
        must_run([MODULE, str(path), "--output", str(work)], log, nproc=NUM_RANKS)
    except ProgramError as exc:
        return Check.failed("ranks", exc.cause)
    return _same("ranks", read_json_object(work / "ranks.json"))


def _cost(config: TrainConfig, trial: Mapping[str, Any]) -> Check:
    """Memory of the process and time of a step of the whole run, for one process."""
    step_s = trial["row_s"] * config.global_batch_size
    figures = {"memory_bytes": trial["memory_bytes"], "device": trial["device"], "step_s": step_s}
    if config.max_steps is not None:
        figures |= {"num_steps": config.max_steps, "total_s": step_s * config.max_steps}
    return Check("cost", passed=True, figures=figures)
