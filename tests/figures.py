"""The figures that the suites measure, beside their goals: a pytest plugin with the fixture `figure`.

A test calls `figure(name, value, seed=...)` for a name of GOALS. The figures travel with the reports, so they arrive
from every worker, and the run ends with a table of those that it measured; with --figures it names the others, too.
"""

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

PROPERTY = "figure"
TOTAL, WORST = "total", "worst"
REACHED: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached, and how the figures of several tests become one."""

    what: str
    sense: str
    value: float
    unit: str = ""
    combine: str = TOTAL


def _crash_points(path: str) -> dict[str, Goal]:
    return {
        f"G2 {path}": Goal(f"crash points tried in the save of {path}, of all", ">=", 100, "%", WORST),
        f"G3 {path}": Goal(f"calls failed in the save of {path}, none losing or lying, of all", ">=", 100, "%", WORST),
    }


GOALS: dict[str, Goal] = {
    "G1 kills": Goal("random kills of stores that write", ">=", 1000),
    "G1 lost": Goal("acknowledged records lost or torn in them", "<=", 0),
    **_crash_points("JSON files"),
    **_crash_points("job state"),
    **_crash_points("checkpoints"),
    **_crash_points("model export"),
    **_crash_points("the library"),
    **_crash_points("conversations"),
    "G4 states": Goal("states of dropped and reordered writes after a power loss", ">=", 500),
    "G5 kills": Goal("kills of the whole program while it chats, indexes and trains", ">=", 100),
    "G5 ready": Goal("until it is there again after one", "<=", 15, "s", WORST),
    "G6 kills": Goal("kills of two-rank training runs, resumed bit for bit", ">=", 100),
    "G7 streams": Goal("streams at once, whole and none mixed", ">=", 200),
    "G7 wrong": Goal("of them lost, mixed or broken", "<=", 0),
    "G7 freed": Goal("until everything is free after half of 200 leave", "<=", 250, "ms", WORST),
    "G8 refusal": Goal("99th percentile until one of ten times the bound is refused", "<=", 100, "ms", WORST),
    "G8 health": Goal("99th percentile of /health under 200 streams", "<=", 200, "ms", WORST),
    "G8 slow sockets": Goal("slow sockets at once without effect", ">=", 500),
    "G9 files": Goal("crafted hostile documents", ">=", 600),
    "G9 mutants": Goal("mutated documents", ">=", 100_000),
    "G10 folders": Goal("hostile model folders", ">=", 60),
    "G10 flips": Goal("flipped or cut model files", ">=", 2000),
    "G10 ran": Goal("of them that ran code, ended the program or were loaded", "<=", 0),
    "G11 templates": Goal("hostile chat templates", ">=", 300),
    "G11 slowest": Goal("slowest of them", "<=", 1.5, "s", WORST),
    "G12 requests": Goal("attacks on every route", ">=", 60 * 60),
    "G12 passed": Goal("of them that passed or changed anything", "<=", 0),
    "G12 readable": Goal("responses that an attack page in Chromium read, or effects it had", "<=", 0),
    "G12 payloads": Goal("XSS payloads in the page's fields, in each language", ">=", 200, combine=WORST),
    "G12 executed": Goal("of them that ran", "<=", 0),
    "G13 connections": Goal("connections of a session beyond loopback", "<=", 0),
    "G13 documents": Goal("injected documents without a leak", ">=", 300),
    "G14 requests": Goal("schemathesis requests", ">=", 10_000),
    "G14 errors": Goal("of them answered 5xx or beyond the document", "<=", 0),
    "G16 growth": Goal("memory growth per hour of mixed load", "<=", 2, "MB", WORST),
    "G18 caught": Goal("seeded bugs that the suites catch", ">=", 27),
    "page tasks": Goal("95th percentile of tasks of a page of 2,000 messages", "<=", 50, "ms", WORST),
    "page idle": Goal("share of a core of server or page while nobody touches it", "<=", 2, "%", WORST),
    "newcomer clicks": Goal("clicks of a newcomer on any of these ways", "<=", 3, combine=WORST),
    "newcomer answer": Goal("from the command to the starter's first answer", "<=", 60, "s", WORST),
    "newcomer model": Goal("from the command to a downloaded model's first answer", "<=", 60, "s", WORST),
    "newcomer citation": Goal("from the command to an answer that cites a document", "<=", 60, "s", WORST),
    "newcomer run": Goal("from the command to a training that has begun", "<=", 60, "s", WORST),
}

Figure = Callable[..., None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Records a figure of this test for the table at the end of the run."""

    def record(name: str, value: float, *, seed: object = "") -> None:
        assert name in GOALS
        request.node.user_properties.append((PROPERTY, (name, float(value), str(seed))))

    return record


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", action="store_true", help="name the goals that this run did not measure, too")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, after everything that ran."""
    measured: dict[str, list[tuple[float, str, bool]]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for key, value in report.user_properties:
                    if key == PROPERTY:
                        name, number, seed = value
                        measured.setdefault(name, []).append((number, seed, report.passed))
    names_all = config.getoption("figures", default=False)
    if measured or names_all:
        terminalreporter.section("figures")
        for line in table(measured, names_all=bool(names_all)):
            terminalreporter.write_line(line)


def table(measured: dict[str, list[tuple[float, str, bool]]], *, names_all: bool) -> Iterable[str]:
    """One line for each goal: what came out, the goal, the seeds, and whether it is reached."""
    for name, goal in GOALS.items():
        if found := measured.get(name):
            value = _combined(goal, [number for number, _, _ in found])
            seeds = ", ".join(dict.fromkeys(seed for _, seed, _ in found if seed))
            is_reached = REACHED[goal.sense](value, goal.value) and all(passed for _, _, passed in found)
            verdict = "reached" if is_reached else "FALLS SHORT"
            yield _line(name, f"{round(value, 2):,.10g}", goal, verdict, f"  seed {seeds}" if seeds else "")
        elif names_all:
            yield _line(name, "–", goal, "not measured", "")


def _combined(goal: Goal, values: list[float]) -> float:
    if goal.combine == TOTAL:
        return round(sum(values), 3)
    return min(values) if goal.sense == ">=" else max(values)


def _line(name: str, value: str, goal: Goal, verdict: str, seeds: str) -> str:
    wanted = f"{goal.sense} {goal.value:,.10g} {goal.unit}".rstrip()
    return f"{name:18} {value:>10}   goal {wanted:12} {verdict:13} {goal.what}{seeds}"
