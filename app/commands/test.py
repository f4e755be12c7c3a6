"""Run the tests: the fast ones, or with --all every one. Options after -- go to pytest.

With --all a table follows: what the suites measured beside the goals, and the goals that nothing measured.
"""

import os
import subprocess
import sys
from argparse import REMAINDER, ArgumentParser, Namespace

from app.paths import ROOT

MAX_WORKERS = 8
FAST, ALL = ("-m", "not slow"), ("--figures",)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="the slow tests too")
    parser.add_argument("pytest", nargs=REMAINDER, metavar="-- ...", help="options for pytest")


def run(arguments: Namespace) -> int:
    extra = [option for option in arguments.pytest if option != "--"]
    return run_pytest(*(ALL if arguments.all else FAST), *extra)


def run_pytest(*options: str) -> int:
    """pytest on this repository, in as many processes as it is worth; returns its exit status."""
    num_workers = min(os.cpu_count() or 1, MAX_WORKERS)
    command = [sys.executable, "-m", "pytest", "-n", str(num_workers), "--dist", "worksteal", *options]
    return subprocess.call(command, cwd=ROOT)
