"""The learning-rate schedule of a run: `ScheduleConfig`. The functions are in `core.trainer.schedule`."""

import dataclasses
from dataclasses import dataclass

from core.config.schema import Config, option
from core.errors import Sentence

# The kinds that read an option, where not all do.
_KINDS_OF = {
    "decay_ratio": ("wsd",),
    "decay_shape": ("wsd",),
    "num_cycles": ("sgdr",),
    "cycle_growth": ("sgdr",),
    "min_ratio": ("cosine", "wsd", "linear", "sgdr"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig(Config):
    """Shape of the learning rate over a run, as fractions of its steps."""

    kind: str = option(
        "cosine",
        "shape after the warm-up: falling as a cosine or a line, wsd (constant, then a decay), sgdr (a cosine that"
        " begins again), or constant",
        choices=("cosine", "wsd", "linear", "constant", "sgdr"),
    )
    warmup_ratio: float = option(0.02, "share of the steps that rise linearly from 0", minimum=0, maximum=1)
    decay_ratio: float = option(0.2, "wsd: share of the steps at the end that decay", minimum=0, maximum=1)
    decay_shape: str = option("sqrt", "wsd: how it decays, as 1 - √p or as a line", choices=("sqrt", "linear"))
    num_cycles: int = option(3, "sgdr: how often the cosine falls", minimum=1, maximum=1000)
    cycle_growth: float = option(2.0, "sgdr: how much longer each cycle is than the one before", minimum=1, maximum=100)
    min_ratio: float = option(0.1, "final learning rate as a share of the peak", minimum=0, maximum=1)

    def conflicts(self) -> list[str]:
        problems: list[str] = [
            Sentence(
                "{name} is for kind {kinds}, not for {kind}",
                name=field.name,
                kinds=tuple(_KINDS_OF[field.name]),
                kind=self.kind,
            )
            for field in dataclasses.fields(self)
            if self.kind not in _KINDS_OF.get(field.name, (self.kind,)) and getattr(self, field.name) != field.default
        ]
        total = self.warmup_ratio + self.decay_ratio
        if self.kind == "wsd" and total > 1:
            problems.append(
                Sentence(
                    "warmup_ratio {warmup} + decay_ratio {decay} exceed 1",
                    warmup=self.warmup_ratio,
                    decay=self.decay_ratio,
                )
            )
        return problems
