import pytest

from core.evaluation.intervals import share_interval


def test_the_interval_is_that_of_wilsons_formula() -> None:
    """8 of 10: (0.8 + z²/20 ± z √(0.016 + z²/400)) / (1 + z²/10), z² = 3.8415."""
    assert share_interval(8, 10) == pytest.approx((0.49016, 0.94332), abs=1e-5)


def test_the_interval_of_all_and_of_none_stays_within_bounds() -> None:
    assert share_interval(0, 5)[0] == 0
    assert share_interval(5, 5)[1] == 1
    assert share_interval(0, 5)[1] == pytest.approx(1 - share_interval(5, 5)[0])
