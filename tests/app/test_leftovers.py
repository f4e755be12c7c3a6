"""What a killed program left is deleted; what a living one writes, and what is not ours, stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.leftovers import sweep
from core.files import write_atomic, write_bytes
from tests.conftest import ROOT

WRITER = """
import sys, time
from pathlib import Path
from core.files import write_atomic

def write(temporary):
    temporary.write_bytes(b"half")
    temporary.with_name(".tmpAb3dE9").write_bytes(b"half a tensor")
    print("begun", flush=True)
    time.sleep(60)

write_atomic(Path(sys.argv[1]), write)
"""
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows kills in another way")


def begun(path: Path) -> subprocess.Popen[str]:
    """A program that is in the middle of writing a file."""
    command = [sys.executable, "-c", WRITER, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@needs_signals
def test_what_a_killed_program_left_is_deleted_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "settings.json", b"old")
    killed, alive = begun(tmp_path / "a" / "settings.json"), begun(tmp_path / "b" / "model.bin")
    try:
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(names(tmp_path / "a")) == 3
        assert sweep(tmp_path)
        assert (names(tmp_path / "a"), len(names(tmp_path / "b"))) == (["settings.json"], 2)
        assert (tmp_path / "a" / "settings.json").read_bytes() == b"old"
    finally:
        alive.kill()
        alive.communicate()
    assert len(sweep(tmp_path)) == 2


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    strange = [".x.tmp", "x.1.0123abcd.tmp", ".x.1.0123abcd.tmp.bak", ".tmpAb3dE9", ".x.one.0123abcd.tmp"]
    for name in strange:
        (tmp_path / name).touch()
    folder = tmp_path / ".folder.999999999.0123abcd.tmp"
    folder.mkdir()
    outside = tmp_path.with_name("outside")
    outside.mkdir()
    (outside / ".x.999999999.0123abcd.tmp").touch()
    (tmp_path / "link").symlink_to(outside, target_is_directory=True)
    assert sweep(tmp_path) == []
    assert (outside / ".x.999999999.0123abcd.tmp").exists()


def test_a_number_that_another_program_has_now_holds_nothing_back(tmp_path: Path) -> None:
    left = tmp_path / f".x.{os.getpid()}.0123abcd.tmp"
    left.touch()
    assert sweep(tmp_path) == []
    os.utime(left, (0, time.time() - 10 * 365 * 86400))
    assert sweep(tmp_path) == [left]


def test_its_own_pattern_is_that_of_write_atomic(tmp_path: Path) -> None:
    def look(temporary: Path) -> None:
        os.utime(temporary, (0, 0))
        assert sweep(tmp_path) == [temporary]
        temporary.touch()

    write_atomic(tmp_path / "x", look)
