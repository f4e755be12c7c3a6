"""Starting several ranks from a test."""

import os
import subprocess
from pathlib import Path

from core.parallel.launch import launch_command

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_S = 500


def launch(nproc: int, *arguments: str, max_restarts: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a module on so many ranks, on one thread each, to its end."""
    command = launch_command(nproc, list(arguments), max_restarts=max_restarts)
    return subprocess.run(command, **options(), timeout=TIMEOUT_S, check=False)


def start(nproc: int, *arguments: str, max_restarts: int = 0) -> subprocess.Popen[str]:
    """Begin to run a module on so many ranks."""
    return subprocess.Popen(launch_command(nproc, list(arguments), max_restarts=max_restarts), **options())


def options() -> dict[str, object]:
    return {
        "cwd": ROOT,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
