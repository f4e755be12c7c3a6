"""Everything a run holds while it trains: `TrainContext`."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from core.config.train_config import TrainConfig
from core.data.dataset import Rows
from core.data.sampler import RowSampler
from core.data.tokenizer import Tokenizer
from core.model.adapters import adapters_off
from core.model.heads import RewardModel
from core.model.transformer import Backbone, Transformer
from core.parallel.setup import Ranks
from core.parallel.wrap import Parallel
from core.trainer.optimizer import optimizer_tensors
from core.trainer.rng import rng_tensors
from core.trainer.run_folder import RunFolder, Snapshot
from core.trainer.strategy import Strategy

# Prompts and their completions to one reward each.
RewardFunction = Callable[[Sequence[str], Sequence[str]], Sequence[float]]


@dataclass(slots=True)
class Best:
    """The best validation so far; lower scores are better. `num_worse` counts those since."""

    score: float = math.inf
    step: int = -1
    num_worse: int = 0

    def add(self, score: float, step: int) -> None:
        if score < self.score:
            self.score, self.step, self.num_worse = score, step, 0
        else:
            self.num_worse += 1


@dataclass(slots=True)
class TrainContext:
    """The parts of one run. `step` counts finished optimiser steps, `tokens` what the model has read in them."""

    config: TrainConfig
    run: RunFolder
    device: torch.device
    dtype: torch.dtype
    ranks: Ranks
    model: Backbone
    tokenizer: Tokenizer
    optimizers: list[Optimizer]
    strategy: Strategy[Any]
    train_rows: Rows[Any]
    validation_rows: Rows[Any] | None
    sampler: RowSampler
    num_steps: int
    attempt: int
    parent_hash: str | None = None
    data_hash: str = ""
    dequantised_from: str | None = None
    reward: RewardFunction | None = None
    reference: Transformer | None = None
    value: RewardModel | None = None
    best: Best = field(default_factory=Best)
    parallel: Parallel = field(default_factory=Parallel)
    step: int = 0
    tokens: int = 0
    train_s: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether all steps are made, or validation has not improved for as long as is waited for."""
        patience = self.config.early_stopping
        return self.step >= self.num_steps or (patience > 0 and self.best.num_worse >= patience)

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint of the best validation, where it is kept and was written."""
        folder = self.run.checkpoint(self.best.step)
        return folder if self.config.keep_best and folder.exists() else None

    @property
    def policy(self) -> Transformer:
        """The model as what it is in every stage but `rm`."""
        assert isinstance(self.model, Transformer), "a reward model writes nothing"
        return self.model

    @property
    def trained(self) -> dict[str, nn.Module]:
        """What optimisers own and checkpoints keep, by the prefix of its tensors' names."""
        return {"": self.model, **{f"{name}.": module for name, module in self.beside.items()}}

    @property
    def beside(self) -> dict[str, nn.Module]:
        """What is trained beside the model itself: PPO's value model."""
        return {} if self.value is None else {"value": self.value}

    def autocast(self) -> torch.autocast:
        """The arithmetic of a forward pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @contextmanager
    def as_reference(self) -> Iterator[Transformer]:
        """The frozen model that the policy began as: where adapters are trained, the policy without them."""
        if self.model.adapter_base is not None:
            with adapters_off(self.model):
                yield self.policy
            return
        assert self.reference is not None, "the strategy asked for no reference"
        yield self.reference

    def snapshot(self) -> Snapshot:
        """What a checkpoint of this step holds. Every rank must ask."""
        optimizer = optimizer_tensors(self.trained, self.optimizers)
        tensors = {**optimizer, **rng_tensors(self.device, self.ranks)}
        return Snapshot(self.model, self.tokenizer, self.beside, tensors, self.state())

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps beside weights and optimiser."""
        return {
            "step": self.step,
            "tokens": self.tokens,
            "train_s": self.train_s,
            "parent_hash": self.parent_hash,
            "data_hash": self.data_hash,
            "best": None if self.best.step < 0 else asdict(self.best),
            "num_ranks": self.ranks.world_size,
            "num_threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
