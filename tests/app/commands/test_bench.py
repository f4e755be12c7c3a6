"""The command that finds and runs benchmarks."""

import json
from argparse import ArgumentParser
from types import SimpleNamespace

import pytest

from app.commands import bench


@pytest.fixture(autouse=True)
def one_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("--size", type=int, default=1)

    module = SimpleNamespace(
        __doc__="Count.\n\nMore.", add_arguments=add_arguments, run=lambda arguments: {"twice": 2 * arguments.size}
    )
    monkeypatch.setattr(bench, "available", lambda: ["count"])
    monkeypatch.setattr(bench, "load", lambda name: module)


def run(*options: str) -> int:
    parser = ArgumentParser()
    bench.add_arguments(parser)
    return bench.run(parser.parse_args(options))


def test_without_a_name_the_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    assert "The benchmarks are: count." in capsys.readouterr().out


@pytest.mark.parametrize("options", [("--json", "count", "--size", "3"), ("count", "--size", "3", "--json")])
def test_figures_end_with_one_line_of_json(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["twice", "6"]
    assert json.loads(lines[-1]) == {"benchmark": "count", "twice": 6}


def test_every_benchmark_of_this_repository_declares_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "start" in bench.available()
    bench.add_arguments(ArgumentParser())
