"""Tests that are marked `alone` overlap no other one, and waiting for their turn costs no test its limit of time."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

# Six tests of 0.3 s, each with a limit of less than the two that are alone take together.
SUITE = """
import json, time
from pathlib import Path
import pytest

@pytest.mark.timeout(0.5)
@pytest.mark.parametrize("number", [
    pytest.param(number, marks=[pytest.mark.alone] if number in (1, 4) else []) for number in range(6)
])
def test_of_a_while(number):
    begin = time.monotonic()
    time.sleep(0.3)
    Path(__file__).with_name(f"{number}.json").write_text(json.dumps([begin, time.monotonic()]))
"""


def test_who_is_alone_overlaps_nobody(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    options = ["-n", "2", "-p", "tests.alone", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(tmp_path), str(tmp_path / "test_suite.py")]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    times = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(6)]
    for alone in (1, 4):
        begin, end = times[alone]
        others = times[:alone] + times[alone + 1 :]
        assert all(other_end <= begin or other_begin >= end for other_begin, other_end in others)
