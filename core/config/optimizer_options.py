"""How the trained parameters are stepped: optimiser, learning rate, clipping."""

from dataclasses import dataclass
from typing import Any

from core.config.schedule_config import ScheduleConfig
from core.config.schema import option
from core.errors import ConfigError, Sentence


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """The step of a run."""

    optimizer: str = option(
        "adamw",
        "adamw; adamw_8bit, whose averages take a quarter of the memory; or muon, which learns more from each token"
        " of a fresh model",
        choices=("adamw", "adamw_8bit", "muon"),
    )
    muon_momentum: float = option(0.95, "muon: decay of the gradient's average", minimum=0, maximum=0.99999)
    learning_rate: float = option(1e-3, "peak learning rate", minimum=0)
    weight_decay: float = option(
        0.1, "decay of the matrices alone: the share that a step, times the learning rate, takes off them", minimum=0
    )
    adam_beta1: float = option(0.9, "decay of the gradient's average", minimum=0, maximum=0.99999)
    adam_beta2: float = option(0.95, "decay of the squared gradient's average", minimum=0, maximum=0.99999)
    max_grad_norm: float = option(1.0, "clip the gradient to this norm; 0 does not clip", minimum=0)
    schedule: dict[str, Any] = option(
        {},
        "kind (cosine, wsd, linear, constant, sgdr), warmup_ratio, min_ratio; wsd: decay_ratio, decay_shape; sgdr:"
        ' num_cycles, cycle_growth; as {"kind": "wsd"}',
    )

    def conflicts(self) -> list[str]:
        """See `Config`."""
        problems: list[str] = []
        if self.optimizer != "muon" and self.muon_momentum != OptimizerOptions.muon_momentum:
            problems.append(
                Sentence(
                    "muon_momentum {value} is for optimizer muon, not for {optimizer}",
                    value=self.muon_momentum,
                    optimizer=self.optimizer,
                )
            )
        try:
            ScheduleConfig.from_dict(self.schedule)
        except ConfigError as exc:
            problems += [Sentence("schedule: {problem}", problem=problem) for problem in exc.problems]
        return problems

    @property
    def schedule_config(self) -> ScheduleConfig:
        return ScheduleConfig.from_dict(self.schedule)
