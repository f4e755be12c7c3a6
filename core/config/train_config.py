"""A training run: `TrainConfig`. Its JSON in the run folder is the run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.config.adapter_options import AdapterOptions
from core.config.model_config import PRESETS
from core.config.optimizer_options import OptimizerOptions
from core.config.parallel_options import ParallelOptions
from core.config.preference_options import PreferenceOptions
from core.config.rl_options import RLOptions
from core.config.schema import REQUIRED, Config, option

SAMPLE_PROMPTS = ["The", "今天"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(ParallelOptions, OptimizerOptions, AdapterOptions, PreferenceOptions, RLOptions, Config):
    """One stage of training: which data, which model, for how long."""

    stage: str = option(
        "pt",
        "pt learns from text, sft from conversations, rm (a reward model) and dpo from pairs of answers, ppo and grpo"
        " from rewards of what the model answers",
        choices=("pt", "sft", "rm", "dpo", "ppo", "grpo"),
    )
    data: str = option(REQUIRED, "folder that `prepare` wrote")
    mixture: dict[str, Any] = option(
        {},
        'further data sets and their shares of the rows, as {"runs/chat": 0.2}; data gives the rest',
        stages=("pt", "sft"),
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
        stages=("pt", "sft", "dpo", "ppo", "grpo"),
    )
    sample_prompts: list[str] = option(SAMPLE_PROMPTS, "what those texts answer, or in stage pt continue")
    tensorboard: bool = option(False, "write the metrics as TensorBoard files too")

    def conflicts(self) -> list[str]:
        problems = self._options_of_other_stages()
        for group in (OptimizerOptions, AdapterOptions, PreferenceOptions, RLOptions):
            problems += group.conflicts(self)
        problems += self._adapter_problems()
        if self.global_batch_size % self.micro_batch_size:
            below = self.global_batch_size // self.micro_batch_size * self.micro_batch_size
            problems.append(
                f"global_batch_size {self.global_batch_size} is not a multiple of micro_batch_size"
                f" {self.micro_batch_size}: use {max(below, self.micro_batch_size)} or {below + self.micro_batch_size}"
            )
        problems += _mixture_problems(self.mixture) + self._options_without_effect()
        if self.stage != "pt" and self.base is None:
            problems.append(f"stage {self.stage} needs base, the run or model to start from")
        if self.max_steps is None and self.epochs == 0:
            problems.append("epochs is 0 and max_steps is not given, nothing would be trained")
        return problems

    def _adapter_problems(self) -> list[str]:
        """Settings that an adapter does not go with."""
        if self.adapter == "none":
            return []
        problems = []
        if self.base is None:
            problems.append(f"adapter {self.adapter} needs base, the model that it is trained beside")
        if self.optimizer == "muon":
            problems.append(f"optimizer muon is for whole matrices, and adapter is {self.adapter}: take adamw")
        if self.parallel == "fsdp":
            problems.append(f"parallel fsdp is for whole models, and adapter is {self.adapter}: take ddp")
        if self.stage == "rm":
            problems.append(f"stage rm trains a whole reward model, and adapter is {self.adapter}: set it to none")
        return problems

    def _options_without_effect(self) -> list[str]:
        """Options that were set and that another one turns off."""
        problems = []
        if self.base is not None and self.model:
            problems.append(f"base {self.base} has its own shape: leave out model")
        if self.validation_interval == 0 and self.early_stopping:
            problems.append(
                f"early_stopping {self.early_stopping} needs validations on the way: set validation_interval"
            )
        if self.validation_interval == 0 and self.keep_best:
            problems.append("keep_best needs validations on the way: set validation_interval")
        if self.sample_interval == 0 and self.sample_prompts != SAMPLE_PROMPTS:
            problems.append("sample_prompts are answered every sample_interval steps, and that is 0")
        if self.max_steps is not None and self.epochs != 1.0:
            problems.append(f"max_steps {self.max_steps} and epochs {self.epochs:g} both say how long: leave one out")
        return problems

    def _options_of_other_stages(self) -> list[str]:
        """Options that were set and that this stage does not read."""
        return [
            f"{field.name} belongs to stage {' and '.join(field.metadata['stages'])}, not to {self.stage}"
            for field in dataclasses.fields(self)
            if field.metadata["stages"] and self.stage not in field.metadata["stages"]
            if getattr(self, field.name)
            != (field.default_factory() if callable(field.default_factory) else field.default)
        ]


def _mixture_problems(mixture: dict[str, Any]) -> list[str]:
    problems = [
        f"mixture's share of {folder} is {share!r}, it must be a number between 0.001 and 0.999"
        for folder, share in mixture.items()
        if not isinstance(share, int | float) or not 0.001 <= share <= 0.999
    ]
    if not problems and sum(mixture.values()) > 0.999:
        problems.append(f"mixture's shares add up to {sum(mixture.values()):g} and leave nothing for data")
    return problems
