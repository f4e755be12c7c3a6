"""Learning-rate schedules, values by hand."""

import pytest

from core.config.schedule_config import ScheduleConfig
from core.errors import ConfigError
from core.trainer.schedule import learning_rate_factor


def factors(num_steps: int, **values: object) -> list[float]:
    schedule = ScheduleConfig.from_dict(values)
    return [learning_rate_factor(step, num_steps, schedule) for step in range(num_steps + 1)]


def test_warm_up_rises_linearly_to_the_peak() -> None:
    assert factors(10, warmup_ratio=0.4)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_cosine_is_half_way_in_the_middle_and_ends_at_the_minimum() -> None:
    values = factors(100, warmup_ratio=0.0, min_ratio=0.2)
    assert values[0] == 1.0
    assert values[50] == pytest.approx(0.6)
    assert values[100] == pytest.approx(0.2)


def test_wsd_is_constant_until_its_decay() -> None:
    values = factors(100, kind="wsd", warmup_ratio=0.1, decay_ratio=0.25, min_ratio=0.0)
    assert set(values[9:76]) == {1.0}
    assert values[81] == pytest.approx(1 - 0.24**0.5)
    assert values[100] == 0.0


def test_wsd_phases_longer_than_the_run_name_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"warmup_ratio 0.6 \+ decay_ratio 0.5 exceed 1"):
        ScheduleConfig(kind="wsd", warmup_ratio=0.6, decay_ratio=0.5)


@pytest.mark.parametrize(
    ("kind", "minimum", "step", "expected"),
    [
        ("cosine", 0.0, 0, 0.1),
        ("cosine", 0.0, 4, 0.5),
        ("cosine", 0.0, 9, 1.0),
        ("cosine", 0.0, 10, 1.0),
        ("cosine", 0.0, 55, 0.5),
        ("cosine", 0.0, 99, 0.000305),
        ("cosine", 0.1, 55, 0.55),
        ("cosine", 0.1, 99, 0.100274),
        ("wsd", 0.1, 79, 1.0),
        ("wsd", 0.1, 99, 0.122789),
        ("wsd", 0.1, 100, 0.1),
        ("constant", 0.1, 99, 1.0),
    ],
)
def test_values_over_a_hundred_steps_with_ten_of_warm_up(kind: str, minimum: float, step: int, expected: float) -> None:
    values = factors(100, kind=kind, warmup_ratio=0.1, decay_ratio=0.2, min_ratio=minimum)
    assert values[step] == pytest.approx(expected, abs=1e-6)
