"""The table of figures: beside their goals, from all workers, and honest about what is missing."""

import pytest

from tests.conftest import ROOT
from tests.figures import GOALS, table

pytest_plugins = ["pytester"]

SUITE = """
import pytest

@pytest.mark.parametrize("kills", [400, 600])
def test_kills(figure, kills):
    figure("G1 kills", kills, seed=7)

@pytest.mark.parametrize("part", [100, 40])
def test_points(figure, part):
    figure("G2 job state", part)

def test_fails(figure):
    figure("G7 wrong", 0)
    assert False
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_figures_of_all_tests_and_workers_are_told_beside_their_goals(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "tests.figures", "--figures", *workers)
    result.stdout.fnmatch_lines(
        [
            "G1 kills *1,000   goal >= 1,000 *reached*seed 7",
            "G2 job state *40   goal >= 100 % *FALLS SHORT*",
            "G4 states *–   goal >= 500 *not measured*",
            "G7 wrong *0   goal <= 0 *FALLS SHORT*",
        ]
    )


def test_without_a_wish_for_all_only_what_was_measured_is_told() -> None:
    lines = list(table({"G11 slowest": [(0.4, "", True), (1.2, "", True)]}, names_all=False))
    assert len(lines) == 1
    assert "1.2   goal <= 1.5 s" in lines[0]
    assert len(list(table({}, names_all=True))) == len(GOALS)
