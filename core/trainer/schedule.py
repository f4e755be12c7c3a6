"""The learning rate as a pure function of the step."""

import math

from core.config.schedule_config import ScheduleConfig


def learning_rate_factor(step: int, num_steps: int, schedule: ScheduleConfig) -> float:
    """Share of the peak learning rate at `step` (from 0) of `num_steps`.

    Warm-up is linear to 1. Then cosine: ½(1 + cos πp) (Loshchilov & Hutter 2017); wsd: constant with
    a decay of 1 - √p at the end (Hägele et al. 2024); both end at `min_ratio`.
    """
    warmup = round(schedule.warmup_ratio * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    decay_start = warmup if schedule.kind == "cosine" else num_steps - round(schedule.decay_ratio * num_steps)
    progress = min(max(step - decay_start, 0) / max(num_steps - decay_start, 1), 1.0)
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if schedule.kind == "cosine" else 1 - math.sqrt(progress)
    return schedule.min_ratio + (1 - schedule.min_ratio) * shape
