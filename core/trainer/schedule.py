"""The learning rate as a pure function of the step."""

import math

from core.config.schedule_config import ScheduleConfig


def learning_rate_factor(step: int, num_steps: int, schedule: ScheduleConfig) -> float:
    """Share of the peak learning rate at `step` (from 0) of `num_steps`.

    Warm-up is linear to 1. What follows falls to `min_ratio` as a function of its share p that is over: cosine
    ½(1 + cos πp), linear 1 - p, sgdr the cosine anew in each cycle (Loshchilov & Hutter 2017); wsd is constant with a
    decay of 1 - √p or 1 - p at the end (Hägele et al. 2024).
    """
    warmup = round(schedule.warmup_ratio * num_steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    is_wsd = schedule.kind == "wsd"
    start = num_steps - round(schedule.decay_ratio * num_steps) if is_wsd else warmup
    progress = min(max(step - start, 0) / max(num_steps - start, 1), 1.0)
    return schedule.min_ratio + (1 - schedule.min_ratio) * _remaining(progress, schedule)


def _remaining(progress: float, schedule: ScheduleConfig) -> float:
    """How much of the way from 1 down to the minimum is left."""
    shape = schedule.decay_shape if schedule.kind == "wsd" else schedule.kind
    if shape == "linear":
        return 1 - progress
    if shape == "sqrt":
        return 1 - math.sqrt(progress)
    if shape == "sgdr":
        progress = _cycle_progress(progress, schedule.num_cycles, schedule.cycle_growth)
    return 0.5 * (1 + math.cos(math.pi * progress))


def _cycle_progress(progress: float, num_cycles: int, growth: float) -> float:
    """How far the cycle is that a share `progress` of all cycles falls into."""
    lengths = [growth**number for number in range(num_cycles)]
    left = progress * sum(lengths)
    for length in lengths[:-1]:
        if left < length * (1 - 1e-12):  # a step at the end of a cycle begins the next
            return left / length
        left = max(left - length, 0.0)
    return left / lengths[-1]
