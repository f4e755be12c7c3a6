"""Programs that end, or whose disk fails, at any system call that writes: strace counts the calls and tampers with one.

A few of the calls are tried, spread over all of them, unless ASTRAI_FAULT_POINTS says how many ("all").
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import ROOT

# strace follows the thread that commits, and not those that read, whose number of calls varies.
CALLS = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,ftruncate"
STAYS_FULL = ("pwrite64", "fsync", "fdatasync", "ftruncate")  # only the files that matter see these
NUM_POINTS = 8


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th call of this name, from 1, and the file it touches."""

    call: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number} of {self.file}"


def run_traced(program: Sequence[str], trace: Path, *injected: str) -> subprocess.CompletedProcess[str]:
    """Run `python -B -m PROGRAM` with system calls tampered with, and write which it made to `trace`."""
    tracing = ["strace", "-y", "-o", str(trace), "-e", f"trace={CALLS}"]
    tampering = [part for each in injected for part in ("-e", f"inject={each}")]
    command = [*tracing, *tampering, sys.executable, "-B", "-m", *program]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=100)


def points_in(trace: Path, folder: Path) -> list[Point]:
    """The calls of a run that touch a folder."""
    counts: Counter[str] = Counter()
    found: list[Point] = []
    for line in trace.read_text(encoding="utf-8").splitlines():
        call = line.partition("(")[0]
        counts[call] += 1
        if touched := re.search(rf"{re.escape(str(folder))}(?:/([^\"<>]*))?[\">]", line):
            found.append(Point(call, counts[call], touched[1] or "the folder"))
    return found


def spread(points: Sequence[Any]) -> list[Any]:
    """Some of the points, evenly over all of them, or as many as are wanted."""
    wanted = os.environ.get("ASTRAI_FAULT_POINTS", str(NUM_POINTS))
    count = len(points) if wanted == "all" else min(int(wanted), len(points))
    return [points[i] for i in np.linspace(0, len(points) - 1, count).round().astype(int).tolist()]


def of_each_kind(points: Sequence[Point]) -> list[Point]:
    """The first call of each kind on each kind of file, and some of the rest."""
    first = {(point.call, re.sub(r"\.[0-9a-zA-Z]+(?=\.tmp$)|tmp\w+$", "", point.file)): point for point in points[::-1]}
    return sorted({*first.values(), *spread(points)}, key=points.index)
