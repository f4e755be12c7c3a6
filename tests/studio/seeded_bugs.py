"""Bugs that trainers have had: each function puts one into the process that calls it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from core.data.prefetch import Prefetch
from core.model.transformer import Backbone
from core.parallel.setup import Ranks
from core.parallel.wrap import Parallel
from core.trainer import build_context, preference, train_context, trainer
from core.trainer.tally import Mean, Tally
from core.trainer.trainer import Trainer


def random_state_not_saved() -> None:
    train_context.rng_tensors = lambda device, ranks: {}


def random_state_not_restored() -> None:
    build_context.restore_rng = lambda stored, device, ranks: True


def optimizer_state_not_saved() -> None:
    train_context.optimizer_tensors = lambda trained, optimizers: {}


def sampler_off_by_one_after_resume() -> None:
    _after_construction(
        lambda run: (
            run.context.step
            and setattr(
                run, "_rows", Prefetch(run._micro_batches, range(run.context.step + 1, run.context.num_steps + 1))
            )
        )
    )


def schedule_restarted() -> None:
    first, factor = [0], trainer.learning_rate_factor
    _after_construction(lambda run: first.__setitem__(0, run.context.step))
    trainer.learning_rate_factor = lambda step, *rest: factor(step - first[0], *rest)


def mean_of_means() -> None:
    def accumulate(run: Trainer, batch: Any, tally: Tally) -> None:
        total, loss = run.context.parallel.run(run._loss, batch)
        mean = total / loss.weight
        mean.backward()
        tally.add({"loss": Mean(mean, 1), **loss.metrics})

    Trainer._accumulate = accumulate


def gradient_not_averaged_over_ranks() -> None:
    @contextmanager
    def micro_batch(parallel: Parallel, *, is_last: bool) -> Iterator[None]:
        if isinstance(parallel._module, DistributedDataParallel):
            with parallel._module.no_sync():
                yield
        else:
            yield

    Parallel.micro_batch = micro_batch


def ranks_divide_by_their_own_tokens() -> None:
    totals = Tally.totals
    Tally.totals = lambda tally, ranks: totals(tally, Ranks.alone())


def documents_see_each_other() -> None:
    hidden = Backbone.hidden

    def blind(model: Backbone, *args: Any, document_ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return hidden(model, *args, document_ids=torch.zeros_like(document_ids), **kwargs)

    Backbone.hidden = blind


def reference_is_another_model() -> None:
    load = preference.load_reference

    def altered(context: Any) -> Any:
        model = load(context)
        with torch.no_grad():
            model.lm_head.weight.mul_(1.01)
        return model

    preference.load_reference = altered


def _after_construction(act: Any) -> None:
    begin = Trainer.__init__

    def construct(run: Trainer, *args: Any) -> None:
        begin(run, *args)
        act(run)

    Trainer.__init__ = construct
