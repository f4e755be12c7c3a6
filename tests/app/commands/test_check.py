"""What `check` and `test` run, and what they return."""

from argparse import ArgumentParser
from types import ModuleType

import pytest

from app.commands import check
from app.commands import test as test_command


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that were run; those with mypy in them fail."""
    made: list[list[str]] = []

    def call(command: list[str], cwd: object) -> int:
        made.append(command[2:])
        return int("mypy" in command)

    monkeypatch.setattr(check.subprocess, "call", call)
    return made


def run(module: ModuleType, *options: str) -> int:
    parser = ArgumentParser()
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(options)))


def test_check_runs_everything_and_names_what_failed(
    calls: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(check) == 1
    assert [call[0] for call in calls] == ["ruff", "ruff", "mypy", "pytest"]
    assert capsys.readouterr().err == "Not in order: types.\n"


def test_check_without_tests_runs_no_test(calls: list[list[str]]) -> None:
    run(check, "--no-tests")
    assert ["pytest"] not in [call[:1] for call in calls]


def test_tests_leave_out_the_slow_ones_unless_all_are_asked_for(calls: list[list[str]]) -> None:
    assert run(test_command, "--", "-k", "name") == 0
    assert run(test_command, "--all") == 0
    assert calls[0][-4:] == ["-m", "not slow", "-k", "name"]
    assert "not slow" not in calls[1]
