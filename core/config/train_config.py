"""A training run: `TrainConfig`. Its JSON in the run folder is the run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.config.model_config import PRESETS
from core.config.parallel_options import ParallelOptions
from core.config.preference_options import PreferenceOptions
from core.config.schedule_config import ScheduleConfig
from core.config.schema import REQUIRED, Config, option
from core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(PreferenceOptions, ParallelOptions, Config):
    """One stage of training: which data, which model, for how long."""

    stage: str = option(
        "pt",
        "pt learns from text, sft from conversations, rm (a reward model) and dpo from pairs of answers",
        choices=("pt", "sft", "rm", "dpo"),
    )
    data: str = option(REQUIRED, "folder that `prepare` wrote")
    mixture: dict[str, Any] = option(
        {}, 'further data sets and their shares of the rows, as {"runs/chat": 0.2}; data gives the rest'
    )
    output: str = option(REQUIRED, "run folder to make")
    base: str | None = option(None, "run or model folder to start from; without it the weights are fresh")
    preset: str = option("starter", "shape of a fresh model", choices=tuple(PRESETS))
    model: dict[str, Any] = option({}, 'fields of the shape that differ from the preset, as {"num_hidden_layers": 4}')

    max_steps: int | None = option(None, "optimiser steps; without it they follow from epochs", minimum=1, unit="steps")
    epochs: float = option(1.0, "passes over the data when max_steps is not given", minimum=0, maximum=10_000)
    max_seq_len: int = option(
        512, "length of one packed row; rm and dpo: longest prompt with its answer", minimum=8, unit="tokens"
    )
    micro_batch_size: int = option(8, "rows in one forward pass", minimum=1, unit="rows")
    global_batch_size: int = option(32, "rows in one optimiser step", minimum=1, unit="rows")

    optimizer: str = option(
        "adamw", "adamw, or muon, which learns more from each token of a fresh model", choices=("adamw", "muon")
    )
    muon_momentum: float = option(0.95, "decay of Muon's gradient average", minimum=0, maximum=1)
    learning_rate: float = option(1e-3, "peak learning rate", minimum=0)
    weight_decay: float = option(
        0.1, "decay of the matrices alone: the share that a step, times the learning rate, takes off them", minimum=0
    )
    adam_beta1: float = option(0.9, "decay of the gradient's average", minimum=0, maximum=1)
    adam_beta2: float = option(0.95, "decay of the squared gradient's average", minimum=0, maximum=1)
    max_grad_norm: float = option(1.0, "clip the gradient to this norm; 0 does not clip", minimum=0)
    schedule: dict[str, Any] = option(
        {}, 'kind (cosine, wsd, constant), warmup_ratio, decay_ratio and min_ratio, as {"kind": "wsd"}'
    )

    precision: str = option(
        "auto",
        "arithmetic of the forward pass; weights stay fp32. auto takes bf16 where it is faster",
        choices=("auto", "fp32", "bf16"),
    )
    device: str = option(
        "auto", "where to train; auto takes a GPU when there is one", choices=("auto", "cpu", "cuda", "mps")
    )
    num_threads: int = option(0, "CPU threads; 0 is one per physical core that may be used", minimum=0, maximum=1024)
    seed: int = option(1, "seed of the weights and of the order of the data", minimum=0)

    checkpoint_interval_s: float = option(
        300.0, "time between checkpoints; 0 saves after every step", minimum=0, unit="s"
    )
    keep_checkpoints: int = option(2, "newest checkpoints to keep", minimum=1)
    keep_best: bool = option(False, "keep the checkpoint of the best validation too, and end with its weights")
    early_stopping: int = option(
        0, "end after so many validations that are no better than the best; 0 goes through all steps", minimum=0
    )
    validation_interval: int = option(200, "steps between validations; 0 is only at the end", minimum=0)
    validation_tokens: int = option(100_000, "most tokens of one validation", minimum=1, unit="tokens")
    log_interval: int = option(10, "steps between metric rows", minimum=1)
    sample_interval: int = option(
        0,
        "steps between texts that the model writes for you to read; 0 is never",
        minimum=0,
        stages=("pt", "sft", "dpo"),
    )
    sample_prompts: list[str] = option(["The", "今天"], "what those texts answer, or in stage pt continue")
    tensorboard: bool = option(False, "write the metrics as TensorBoard files too")

    def conflicts(self) -> list[str]:
        problems = self._options_of_other_stages() + PreferenceOptions.conflicts(self)
        if self.global_batch_size % self.micro_batch_size:
            below = self.global_batch_size // self.micro_batch_size * self.micro_batch_size
            problems.append(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size"
                f" {self.micro_batch_size}: use {max(below, self.micro_batch_size)} or {below + self.micro_batch_size}"
            )
        problems += _mixture_problems(self.mixture)
        if self.stage != "pt" and self.base is None:
            problems.append(f"stage {self.stage} needs base, the run or model to start from")
        try:
            ScheduleConfig.from_dict(self.schedule)
        except ConfigError as exc:
            problems.append(f"schedule: {exc.message.removesuffix('.')}")
        if self.max_steps is None and self.epochs == 0:
            problems.append("epochs is 0 and max_steps is not given, nothing would be trained")
        return problems

    def _options_of_other_stages(self) -> list[str]:
        """Options that were set and that this stage does not read."""
        return [
            f"{field.name} belongs to stage {' and '.join(field.metadata['stages'])}, not to {self.stage}"
            for field in dataclasses.fields(self)
            if field.metadata["stages"] and self.stage not in field.metadata["stages"]
            if getattr(self, field.name) != field.default
        ]

    @property
    def schedule_config(self) -> ScheduleConfig:
        return ScheduleConfig.from_dict(self.schedule)


def _mixture_problems(mixture: dict[str, Any]) -> list[str]:
    problems = [
        f"mixture's share of {folder} is {share!r}, it must be a number between 0.001 and 0.999"
        for folder, share in mixture.items()
        if not isinstance(share, int | float) or not 0.001 <= share <= 0.999
    ]
    if not problems and sum(mixture.values()) > 0.999:
        problems.append(f"mixture's shares add up to {sum(mixture.values()):g} and leave nothing for data")
    return problems
