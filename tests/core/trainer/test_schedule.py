"""Learning-rate schedules, values by hand."""

import math

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
        ("linear", 0.0, 4, 0.5),
        ("linear", 0.0, 10, 1.0),
        ("linear", 0.0, 55, 0.5),
        ("linear", 0.1, 55, 0.55),
        ("linear", 0.1, 100, 0.1),
        ("wsd", 0.1, 79, 1.0),
        ("wsd", 0.1, 99, 0.122789),
        ("wsd", 0.1, 100, 0.1),
        ("constant", 0.1, 99, 1.0),
    ],
)
def test_values_over_a_hundred_steps_with_ten_of_warm_up(kind: str, minimum: float, step: int, expected: float) -> None:
    values = factors(100, kind=kind, warmup_ratio=0.1, decay_ratio=0.2, min_ratio=minimum)
    assert values[step] == pytest.approx(expected, abs=1e-6)


def test_a_linear_decay_of_wsd_is_a_line() -> None:
    values = factors(100, kind="wsd", decay_shape="linear", warmup_ratio=0.1, decay_ratio=0.2, min_ratio=0.1)
    assert values[80] == 1.0
    assert values[90] == pytest.approx(0.55)
    assert values[99] == pytest.approx(0.145)
    assert values[100] == pytest.approx(0.1)


def test_warm_restarts_begin_again_at_the_peak_in_ever_longer_cycles() -> None:
    """Ten steps of warm-up, then cycles of 20 and 40 steps: half-way at 20 and 50, the peak at 10 and 30."""
    values = factors(70, kind="sgdr", warmup_ratio=1 / 7, num_cycles=2, cycle_growth=2, min_ratio=0.0)
    assert [values[step] for step in (9, 10, 20, 30, 50, 70)] == pytest.approx([1, 1, 0.5, 1, 0.5, 0])
    assert values[29] == pytest.approx(0.5 * (1 + math.cos(math.pi * 19 / 20)))
    assert values[40] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))


def test_cycles_of_one_length_restart_evenly() -> None:
    values = factors(90, kind="sgdr", warmup_ratio=0.0, num_cycles=3, cycle_growth=1, min_ratio=0.2)
    assert [values[step] for step in (0, 30, 60)] == pytest.approx([1.0, 1.0, 1.0])
    assert [values[step] for step in (15, 45, 75, 90)] == pytest.approx([0.6, 0.6, 0.6, 0.2])
    assert values[1:31] == pytest.approx(values[31:61])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "cosine", "decay_ratio": 0.5}, "decay_ratio is for kind wsd, not for cosine"),
        ({"kind": "linear", "decay_shape": "linear"}, "decay_shape is for kind wsd, not for linear"),
        ({"kind": "wsd", "num_cycles": 2}, "num_cycles is for kind sgdr, not for wsd"),
        ({"kind": "cosine", "cycle_growth": 1.0}, "cycle_growth is for kind sgdr, not for cosine"),
        ({"kind": "constant", "min_ratio": 0.0}, "min_ratio is for kind cosine and wsd and linear and sgdr"),
    ],
)
def test_an_option_of_another_kind_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig.from_dict(values)
