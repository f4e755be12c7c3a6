"""What the ranks of tests/core/trainer/test_parallel.py run: `python -m … FOLDER TASK`, the task a function here."""

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import Tensor

from core.config.train_config import TrainConfig
from core.parallel.failure import end_rank
from core.parallel.setup import Ranks, join_ranks
from core.parallel.wrap import whole, wrap
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.callbacks import CheckpointCallback, StepResult
from core.trainer.preflight import GradientRecorder
from core.trainer.train_context import TrainContext
from core.trainer.trainer import Trainer

KILLED_AFTER = 5


def step_in_double(config: TrainConfig, ranks: Ranks) -> tuple[StepResult, dict[str, Tensor]]:
    """One step in float64: its result, and the gradient of every parameter, whole."""
    context = build_context(config, resume=False)
    for module in (*context.trained.values(), *([context.reference] if context.reference else [])):
        module.double()
    context.ranks = ranks
    context.parallel = wrap(context.trained, ranks, config.parallel, dtype=torch.float32)
    recorder = GradientRecorder(context)
    context.optimizers = [recorder]  # type: ignore[list-item]
    return Trainer(context, []).step(), recorder.gradients


def gradients(folder: Path, ranks: Ranks) -> None:
    """For every config in cases.json the gradients of a step, and its figures."""
    figures = {}
    for name, options in json.loads((folder / "cases.json").read_text()).items():
        result, found = step_in_double(TrainConfig.from_dict(options), ranks)
        figures[name] = {"loss": result.loss, "grad_norm": result.grad_norm, "num_tokens": result.num_tokens}
        if ranks.is_first:
            save_file(found, folder / f"{name}.safetensors")
    facts = {
        "figures": figures,
        "ranks": _facts_of(ranks),
        "bf16": _bf16_policy(folder, ranks),
        "sync": _sync(folder, ranks),
    }
    (folder / f"rank-{ranks.rank}.json").write_text(json.dumps(facts))


def _facts_of(ranks: Ranks) -> dict[str, Any]:
    """What the ranks tell each other."""
    mine = ranks.rank + 1
    return {
        "sum": ranks.sum_(torch.tensor([mine, 10.0 * mine])).tolist(),
        "total": ranks.total(mine),
        "any": [ranks.any_true(ranks.rank == 1), ranks.any_true(False)],
        "first": ranks.from_first(mine),
        "gather": [part.tolist() for part in ranks.gather(torch.tensor([mine, mine]))],
        "share": list(ranks.share([1, 2, 3, 4, 5, 6])),
        "problem": [ranks.first_problem("盘满 é" if ranks.rank else None), ranks.first_problem(None)],
    }


def _bf16_policy(folder: Path, ranks: Ranks) -> dict[str, Any]:
    """FSDP2 under bf16: the type of the weights as gathered and as kept, and the loss beside fp32's."""
    options = json.loads((folder / "cases.json").read_text())["pt-fsdp"]
    losses, seen = {}, []
    for precision in ("fp32", "bf16"):
        context = build_context(TrainConfig.from_dict({**options, "precision": precision}), resume=False, ranks=ranks)
        context.parallel.run(lambda context=context: seen.append(str(context.model.lm_head.weight.dtype)))
        losses[precision] = Trainer(context, []).step().loss
        seen.append(str(context.model.lm_head.weight.dtype))
    return {"losses": losses, "seen": seen}


def _sync(folder: Path, ranks: Ranks) -> dict[str, bool]:
    """Whether a gradient is this rank's own after the first of two micro batches, and all ranks' after the last."""
    found = {}
    for kind in ("ddp", "fsdp"):
        options = json.loads((folder / "cases.json").read_text())[f"pt-{kind}"]
        context = build_context(TrainConfig.from_dict(options), resume=False, ranks=ranks)
        trainer = Trainer(context, [])
        for number, batch in enumerate(trainer._micro_batches(0)[:2]):
            with context.parallel.micro_batch(is_last=number == 1):
                total, _ = context.parallel.run(trainer._loss, batch)
                total.backward()
            gradient = context.model.lm_head.weight.grad
            has_crossed = False
            if gradient is not None:
                parts = ranks.gather(whole(gradient))
                has_crossed = torch.equal(parts[0], parts[1])
            found[f"{kind} {number}"] = has_crossed
    return found


def runs(folder: Path, ranks: Ranks) -> None:
    """Train, one after the other, what jobs.json says: [options, resume, how it ends]."""
    with patch.object(CheckpointCallback, "after_step", save_every_second_step):
        for options, resume, end in json.loads((folder / "jobs.json").read_text()):
            with patch.object(Trainer, "step", _ending(Trainer.step, end)), suppress(_AbortError):
                train(TrainConfig.from_dict(options), resume=resume, ranks=ranks)


class _AbortError(Exception):
    pass


def save_every_second_step(callback: CheckpointCallback, context: TrainContext, result: StepResult) -> None:
    if context.step % 2 == 0:
        callback._save(context)


def _ending(step: Callable[[Trainer], StepResult], end: str | None) -> Callable[[Trainer], StepResult]:
    """The step, but where the run is to end after KILLED_AFTER steps."""

    def ending(trainer: Trainer) -> StepResult:
        if end and trainer.context.step == KILLED_AFTER:
            if end == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise _AbortError
        return step(trainer)

    return ending


def main() -> None:
    torch.set_num_threads(1)
    task = {"gradients": gradients, "runs": runs}[sys.argv[2]]
    with join_ranks("cpu") as ranks:
        task(Path(sys.argv[1]), ranks)
    end_rank()


if __name__ == "__main__":
    main()
