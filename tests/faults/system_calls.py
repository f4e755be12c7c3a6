"""Ends a program, or lets its disk fail, at any system call that writes: what the crash tests of all stores share.

The programs that save are functions of `tests.faults.saving`, run in forks of one process that has imported what they
need, so that a try costs a fraction of a second. strace counts the calls of an undisturbed run that touch the watched
folder; then a fork is killed before one of them, or one fails. What a program acknowledges it says by `say`; how it
reports a failure is the sentence that it ends with.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.figures import Figure

# strace follows the thread that saves, and not those that read, whose number of calls varies.
CALLS = (
    "write", "writev", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlink", "unlinkat",
    "ftruncate", "mkdir", "rmdir",
)  # fmt: skip
FULL_DISK = ("pwrite64", "fsync", "fdatasync", "ftruncate")  # those that what is said does not need
ERRORS = ("EIO", "ENOSPC", "EDQUOT")
REFUSED = 3
NUM_POINTS = 8
MAX_WRITE_BYTES = 2**22
NAMES = re.compile(r"'[^']*'|/\S*/|\d+")  # which differ from try to try

needs_programs = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL"),
]
needs_strace = [
    *needs_programs,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)"),
]


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th call of this name, from 1, and the file it touches."""

    call: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number} of {self.file}"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a try ended: its folder, its status (negative: by a signal), what it said, and its last sentence."""

    place: Path
    status: int
    said: list[list[str]]
    sentence: str


class Programs:
    """The process that forks them; its standard input takes orders, its output tells pids and statuses."""

    def __init__(self) -> None:
        command = [sys.executable, "-B", "-m", "tests.faults.saving"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(
        self, kind: str, place: Path, calls: Sequence[str], injected: Sequence[str], *, is_verbatim: bool = False
    ) -> Ended:
        """Run a program of this kind in `place` under strace, whose record is `place`.trace.

        A verbatim record holds all that is written, in hexadecimal.
        """
        self._order({"kind": kind, "place": str(place)})
        pid = int(self._answer())
        tracing = ["strace", "-y", "-o", f"{place}.trace", "-p", str(pid), "-e", f"trace={','.join(calls)}"]
        tracing += ["-xx", "-s", str(MAX_WRITE_BYTES)] if is_verbatim else []
        tampering = [part for each in injected for part in ("-e", f"inject={each}")]
        with subprocess.Popen([*tracing, *tampering], stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            assert "attached" in attached, attached
            os.kill(pid, signal.SIGCONT)
            status = int(self._answer())
        return self._ended(place, status)

    def run_untraced(self, kind: str, place: Path, *, kill_after_s: float | None) -> tuple[Ended, float]:
        """Run a program of this kind in `place`, and kill it; gives also how long it ran, in seconds."""
        self._order({"kind": kind, "place": str(place), "kill_after_s": kill_after_s})
        pid, begin = self._answer(), time.monotonic()
        status = int(self._answer())
        assert pid
        return self._ended(place, status), time.monotonic() - begin

    def _ended(self, place: Path, status: int) -> Ended:
        said = [line.split() for line in Path(f"{place}.said").read_text(encoding="utf-8").splitlines()]
        return Ended(place, status, said, Path(f"{place}.sentence").read_text(encoding="utf-8").strip())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def programs() -> Iterator[Programs]:
    """For a fixture: one process for all tries of a module."""
    opened = Programs()
    try:
        yield opened
    finally:
        opened.close()


class Ground:
    """Folders in which programs of one kind run; `watched` is the part of each that is saved to."""

    def __init__(
        self,
        opened: Programs,
        kind: str,
        folder: Path,
        *,
        watched: str = "saved",
        prepare: Callable[[Path], None] = lambda place: None,
        calls: Sequence[str] = CALLS,
    ) -> None:
        self.kind, self.folder, self.watched, self.prepare = kind, folder, watched, prepare
        self._opened, self._calls = opened, calls

    def run(self, name: str, *injected: str, is_verbatim: bool = False) -> Ended:
        """Run the program in a new folder with system calls tampered with."""
        return self._opened.run(self.kind, self._made(name), self._calls, injected, is_verbatim=is_verbatim)

    def run_untraced(self, name: str, *, kill_after_s: float | None = None) -> tuple[Ended, float]:
        """Run the program in a new folder, and kill it after this time; gives also how long it ran."""
        return self._opened.run_untraced(self.kind, self._made(name), kill_after_s=kill_after_s)

    def _made(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir(parents=True)
        self.prepare(place)
        return place

    def points(self) -> list[Point]:
        """All calls of an undisturbed run that touch what is watched."""
        shutil.rmtree(self.folder / "undisturbed", ignore_errors=True)
        ended = self.run("undisturbed")
        assert ended.status == 0, ended.sentence
        watched = re.escape(str(ended.place / self.watched))
        counts: Counter[str] = Counter()
        found: list[Point] = []
        for line in Path(f"{ended.place}.trace").read_text(encoding="utf-8").splitlines():
            call = line.partition("(")[0]
            counts[call] += 1
            if touched := re.search(rf"{watched}(?:/([^\"<>]*))?[\">]", line):
                found.append(Point(call, counts[call], touched[1] or "the folder"))
        return found

    def forget(self, ended: Ended) -> None:
        """Remove what a try left."""
        shutil.rmtree(ended.place)
        for suffix in ("trace", "said", "sentence"):
            Path(f"{ended.place}.{suffix}").unlink(missing_ok=True)


Check = Callable[[Ended], None]

FEW_AND_ALL = pytest.mark.parametrize(
    "has_all", [False, pytest.param(True, marks=pytest.mark.long)], ids=["few", "all"]
)


def kill_at(ground: Ground, check: Check, figure: Figure, *, has_all: bool) -> None:
    """Kill the program before each of its calls, or before some of each kind, and check what is left."""
    points = ground.points()
    tried = points if has_all else of_each_kind(points)
    begin = time.monotonic()
    for i, point in enumerate(tried):
        ended = ground.run(f"killed-{i}", f"{point.call}:signal=KILL:when={point.number}")
        assert ended.status == -signal.SIGKILL, f"{point}: {ended.status} {ended.sentence}"
        _checked(check, ended, f"killed before {point}")
        ground.forget(ended)
    _tell(f"{ground.kind}: killed before {len(tried)} of {len(points)} calls", begin)
    _tell(f"{ground.kind}: of {dict(Counter(point.call for point in points))}")
    if has_all:
        figure(f"G2 {ground.kind}", 100 * len(tried) / len(points))


def fail_at(ground: Ground, check: Check, figure: Figure, *, has_all: bool, is_in_turn: bool = False) -> None:
    """Let calls fail once, and where a disk is full from there on; the program ends well or with one sentence.

    Each call fails in every way, or in one way of all in turn where a try costs much.
    """
    points = ground.points()
    failing = points if has_all else of_each_kind(points)
    cases = [(point, way) for point in failing for way in ways(point)]
    if is_in_turn:
        cases = [(point, ways(point)[i % len(ways(point))]) for i, point in enumerate(failing)]
    tried = cases if has_all else spread(cases)
    told: Counter[str] = Counter()
    begin = time.monotonic()
    for i, (point, (error, lasting)) in enumerate(tried):
        ended = ground.run(f"failed-{i}", f"{point.call}:error={error}:when={point.number}{lasting}")
        outcome = (ended.status, len(ended.sentence.splitlines()))
        assert outcome in {(0, 0), (REFUSED, 1)}, f"{point} {error}{lasting}: {ended.status} {ended.sentence}"
        told[NAMES.sub("", ended.sentence) or "nothing, as it did not matter"] += 1
        _checked(check, ended, f"{error}{lasting} at {point}")
        ground.forget(ended)
    num_points = len({point for point, _ in tried})
    _tell(f"{ground.kind}: {len(tried)} failures at {num_points} of {len(points)} calls", begin)
    _tell(f"{ground.kind}: said {dict(told)}")
    if has_all:
        figure(f"G3 {ground.kind}", 100 * num_points / len(points))


def ways(point: Point) -> list[tuple[str, str]]:
    """How a call may fail: the error, and "+" where each later call of its name fails, too."""
    return [(error, lasting) for lasting in ("", "+") if not lasting or point.call in FULL_DISK for error in ERRORS]


def _tell(what: str, begin: float | None = None) -> None:
    took = "" if begin is None else f" in {time.monotonic() - begin:.0f} s"
    sys.stdout.write(f"{what}{took}\n")


def _checked(check: Check, ended: Ended, what: str) -> None:
    try:
        check(ended)
    except Exception as exc:
        exc.add_note(f"{what}; said {ended.said}")
        raise


def spread(points: Sequence[Any]) -> list[Any]:
    """Some of the points, evenly over all of them."""
    count = min(NUM_POINTS, len(points))
    return [points[i] for i in np.linspace(0, len(points) - 1, count).round().astype(int).tolist()]


def of_each_kind(points: Sequence[Point]) -> list[Point]:
    """The first call of each kind on each kind of file, and some of the rest."""
    first = {
        (point.call, re.sub(r"\.[0-9a-zA-Z]+(?=\.tmp$)|tmp\w+$|\d+", "", point.file)): point for point in points[::-1]
    }
    return sorted({*first.values(), *spread(points)}, key=points.index)
