"""Format, lint, types and the fast tests: what must hold before a commit."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace

from app.commands.test import FAST, run_pytest
from app.paths import ROOT

TOOLS = {
    "format": ("ruff", "format", "--check", "."),
    "lint": ("ruff", "check", "."),
    "types": ("mypy",),
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--fix", action="store_true", help="let ruff rewrite what it can first")
    parser.add_argument("--no-tests", action="store_true", help="only format, lint and types")


def run(arguments: Namespace) -> int:
    if arguments.fix:
        run_tool("ruff", "check", "--fix-only", "--quiet", ".")
        run_tool("ruff", "format", "--quiet", ".")
    failed = [name for name, command in TOOLS.items() if run_tool(*command)]
    if not arguments.no_tests and run_pytest(*FAST):
        failed.append("tests")
    if failed:
        sys.stderr.write(f"Not in order: {', '.join(failed)}.\n")
    return 1 if failed else 0


def run_tool(name: str, *options: str) -> int:
    """Run a tool of the test packages on this repository; returns its exit status."""
    return subprocess.call([sys.executable, "-m", name, *options], cwd=ROOT)
