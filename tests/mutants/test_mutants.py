"""Do the suites notice? Each seeded bug goes into a copy of the program, and the test named for it must fail there."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.figures import Figure
from tests.mutants.bugs import BUGS, Bug

COPIED = ("app", "core", "rag", "studio", "recipes", "tests", "launch.py", "pyproject.toml")
FAILED = 1  # pytest's status: tests ran, and some failed
RUN_S = 200


def test_there_are_thirty_bugs_and_each_still_fits_its_file() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) == 30
    for bug in BUGS:
        text = (ROOT / bug.file).read_text(encoding="utf-8")
        assert text.count(bug.before) == 1, f"{bug.name}: {bug.file} holds it {text.count(bug.before)} times"
        path, _, name = bug.test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8") or not name, bug.name


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, to be spoilt."""
    folder = tmp_path_factory.mktemp("mutants")
    for name in COPIED:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
    (folder / "models").symlink_to(ROOT / "models")
    return folder


class Suite:
    """The process whose forks run them."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-B", "tests/mutants/warm.py"]
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, *tests: str) -> int:
        """pytest's status; negative where they took too long."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"tests": tests, "limit_s": RUN_S * len(tests)}) + "\n")
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def tests(copy: Path) -> Iterator[Suite]:
    opened = Suite(copy)
    with opened.process:
        yield opened
        assert opened.process.stdin is not None
        opened.process.stdin.close()


def is_caught(folder: Path, tests: Suite, bug: Bug) -> bool:
    """Whether the bug's test fails with it."""
    path = folder / bug.file
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(bug.before, bug.after), encoding="utf-8")
    try:
        return tests.run(bug.test) == FAILED
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(os.name == "nt", reason="there is no fork")
def test_nine_of_ten_seeded_bugs_are_caught(copy: Path, tests: Suite, figure: Figure) -> None:
    is_sound = tests.run(*dict.fromkeys(bug.test for bug in BUGS)) == 0
    assert is_sound, f"without a bug they must pass: {(copy / 'told.txt').read_text(encoding='utf-8')[-2000:]}"
    missed = [bug.name for bug in BUGS if not is_caught(copy, tests, bug)]
    caught = len(BUGS) - len(missed)
    sys.stdout.write(f"caught {caught} of {len(BUGS)}; missed: {missed}\n")
    figure("G18 caught", caught)
    assert caught >= 0.9 * len(BUGS), missed
