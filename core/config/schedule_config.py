"""The learning-rate schedule of a run: `ScheduleConfig`. The functions are in `core.trainer.schedule`."""

from dataclasses import dataclass

from core.config.schema import Config, option


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig(Config):
    """Shape of the learning rate over a run, as fractions of its steps."""

    kind: str = option("cosine", "shape after the warm-up", choices=("cosine", "wsd", "constant"))
    warmup_ratio: float = option(0.02, "share of the steps that rise linearly from 0", minimum=0, maximum=1)
    decay_ratio: float = option(0.2, "wsd: share of the steps at the end that decay", minimum=0, maximum=1)
    min_ratio: float = option(0.1, "final learning rate as a share of the peak", minimum=0, maximum=1)

    def conflicts(self) -> list[str]:
        total = self.warmup_ratio + self.decay_ratio
        if self.kind == "wsd" and total > 1:
            return [f"warmup_ratio {self.warmup_ratio} + decay_ratio {self.decay_ratio} exceed 1"]
        return []
