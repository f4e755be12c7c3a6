"""A training run: `TrainConfig`. Its JSON in the run folder is the run."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from core.config.adapter_options import AdapterOptions
from core.config.optimizer_options import OptimizerOptions
from core.config.parallel_options import ParallelOptions
from core.config.preference_options import PreferenceOptions
from core.config.rl_options import RLOptions
from core.config.run_options import SAMPLE_PROMPTS, RunOptions
from core.config.schema import Config
from core.errors import Sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig(  # fields in the order of the groups from the last to the first
    ParallelOptions, RLOptions, PreferenceOptions, AdapterOptions, OptimizerOptions, RunOptions, Config
):
    """One stage of training: which data, which model, for how long."""

    def conflicts(self) -> list[str]:
        problems = self._options_of_other_stages()
        for group in (OptimizerOptions, AdapterOptions, PreferenceOptions, RLOptions):
            problems += group.conflicts(self)
        problems += self._adapter_problems()
        if self.global_batch_size % self.micro_batch_size:
            below = self.global_batch_size // self.micro_batch_size * self.micro_batch_size
            problems.append(
                Sentence(
                    "global_batch_size {size} is not a multiple of micro_batch_size {micro}: use {below} or {above}",
                    size=self.global_batch_size,
                    micro=self.micro_batch_size,
                    below=max(below, self.micro_batch_size),
                    above=below + self.micro_batch_size,
                )
            )
        problems += _mixture_problems(self.mixture) + self._options_without_effect()
        if self.stage != "pt" and self.base is None:
            problems.append(Sentence("stage {stage} needs base, the run or model to start from", stage=self.stage))
        if self.max_steps is None and self.epochs == 0:
            problems.append(Sentence("epochs is 0 and max_steps is not given, nothing would be trained"))
        return problems

    def _adapter_problems(self) -> list[str]:
        """Settings that an adapter does not go with."""
        if self.adapter == "none":
            return []
        problems: list[str] = []
        if self.base is None:
            problems.append(
                Sentence("adapter {adapter} needs base, the model that it is trained beside", adapter=self.adapter)
            )
        if self.compile == "on":
            problems.append(
                Sentence(
                    "compile is for whole models, and adapter is {adapter}: set it to auto or off", adapter=self.adapter
                )
            )
        if self.optimizer == "muon":
            problems.append(
                Sentence(
                    "optimizer muon is for whole matrices, and adapter is {adapter}: take adamw", adapter=self.adapter
                )
            )
        if self.parallel == "fsdp":
            problems.append(
                Sentence("parallel fsdp is for whole models, and adapter is {adapter}: take ddp", adapter=self.adapter)
            )
        if self.stage == "ppo" and self.base_quantization == "nf4":
            problems.append(
                Sentence("stage ppo trains a value model too, which cannot be kept in nf4: take int8 or int4")
            )
        if self.stage == "rm":
            problems.append(
                Sentence(
                    "stage rm trains a whole reward model, and adapter is {adapter}: set it to none",
                    adapter=self.adapter,
                )
            )
        return problems

    def _options_without_effect(self) -> list[str]:
        """Options that were set and that another one turns off."""
        problems: list[str] = []
        if self.base is not None and self.model:
            problems.append(Sentence("base {base} has its own shape: leave out model", base=self.base))
        if self.validation_interval == 0 and self.early_stopping:
            problems.append(
                Sentence(
                    "early_stopping {count} needs validations on the way: set validation_interval",
                    count=self.early_stopping,
                )
            )
        if self.validation_interval == 0 and self.keep_best:
            problems.append(Sentence("keep_best needs validations on the way: set validation_interval"))
        if self.sample_interval == 0 and self.sample_prompts != SAMPLE_PROMPTS:
            problems.append(Sentence("sample_prompts are answered every sample_interval steps, and that is 0"))
        if self.max_steps is not None and self.epochs != 1.0:
            problems.append(
                Sentence(
                    "max_steps {steps} and epochs {epochs:g} both say how long: leave one out",
                    steps=self.max_steps,
                    epochs=self.epochs,
                )
            )
        return problems

    def _options_of_other_stages(self) -> list[str]:
        """Options that were set and that this stage does not read."""
        return [
            Sentence(
                "{name} belongs to stage {stages}, not to {stage}",
                name=field.name,
                stages=tuple(field.metadata["stages"]),
                stage=self.stage,
            )
            for field in dataclasses.fields(self)
            if field.metadata["stages"] and self.stage not in field.metadata["stages"]
            if getattr(self, field.name)
            != (field.default_factory() if callable(field.default_factory) else field.default)
        ]


def _mixture_problems(mixture: dict[str, Any]) -> list[str]:
    problems: list[str] = [
        Sentence(
            "mixture's share of {folder} is {share!r}, it must be a number between 0.001 and 0.999",
            folder=folder,
            share=share,
        )
        for folder, share in mixture.items()
        if not isinstance(share, int | float) or not 0.001 <= share <= 0.999
    ]
    if not problems and sum(mixture.values()) > 0.999:
        problems.append(
            Sentence("mixture's shares add up to {total:g} and leave nothing for data", total=sum(mixture.values()))
        )
    return problems
