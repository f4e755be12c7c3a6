"""Measure how fast this machine is: `bench` lists the benchmarks, `bench NAME` runs one.

A benchmark is a file benchmarks/bench_NAME.py with `add_arguments(parser)` and `run(arguments)`, which
returns what it measured as plain data.
"""

import importlib
import json
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import Any, Protocol, cast

from app.commands import PROGRAM
from app.paths import ROOT


class Benchmark(Protocol):
    """What a file in benchmarks/ offers."""

    __doc__: str | None

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options of this benchmark."""

    def run(self, arguments: Namespace) -> dict[str, Any]:
        """Measure, and return figures with their units in their names."""


def add_arguments(parser: ArgumentParser) -> None:
    json_help = "end with one line of JSON"
    parser.add_argument("--json", action="store_true", help=json_help)
    names = parser.add_subparsers(title="benchmarks", dest="name", metavar="NAME")
    for name in available():
        benchmark = load(name)
        summary = (benchmark.__doc__ or "").partition("\n")[0]
        subparser = names.add_parser(name, help=summary, description=summary)
        subparser.add_argument("--json", action="store_true", default=SUPPRESS, help=json_help)
        benchmark.add_arguments(subparser)


def run(arguments: Namespace) -> int:
    if arguments.name is None:
        print(f"The benchmarks are: {', '.join(available())}. Run one with `{PROGRAM} bench NAME`.")
        return 0
    figures = load(arguments.name).run(arguments)
    for figure, value in figures.items():
        print(f"{figure:32} {value}")
    if arguments.json:
        print(json.dumps({"benchmark": arguments.name} | figures, ensure_ascii=False))
    return 0


def available() -> list[str]:
    """The names of the benchmarks in this clone."""
    return sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))


def load(name: str) -> Benchmark:
    """The module of a benchmark."""
    return cast(Benchmark, importlib.import_module(f"benchmarks.bench_{name}"))
