"""`launch.py download` as a user runs it: what it says, Ctrl-C, and that no process outlives it."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.__main__ import EXIT_FAILED, EXIT_INTERRUPTED, main
from core.hub.places import find_downloaded
from tests.conftest import ROOT
from tests.hub_server import FakeHub, serving, wait_until_kept

NAMES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    hub = FakeHub({name: (ROOT / "models" / "starter" / name).read_bytes() for name in NAMES})
    with serving(hub) as url:
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield hub


@contextmanager
def stalled_command(hub: FakeHub) -> Iterator["subprocess.Popen[str]"]:
    """The command in a process of its own, waiting for the second half of the weights."""
    hub.cut_after, hub.stall = 3_000_000, threading.Event()
    command = [sys.executable, "-m", "app", "download", hub.name]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert hub.reached.wait(30)
            wait_until_kept(1_000_000)
            yield process
        finally:
            process.kill()
            hub.stall.set()


def test_the_command_says_what_comes_where_it_is_and_that_it_was_there(
    hub: FakeHub, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", hub.name]) == 0
    out, err = capfd.readouterr()
    assert f"Downloading {hub.name}, commit 0123456789ab: 4 files, 6.9 MB." in out
    assert (
        f"{hub.name} is in {find_downloaded(hub.name)}. Chat with it: python launch.py chat --model {hub.name}" in out
    )
    assert "of 6.9 MB" in err
    assert main(["download", hub.name]) == 0
    assert "is already in" in capfd.readouterr().out


def test_another_folder_and_a_bad_file_are_taken_at_their_word(
    hub: FakeHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["download", hub.name, "--revision", "v1", "--to", str(tmp_path / "mine")]) == 0
    assert f"chat --model {tmp_path / 'mine'}" in capfd.readouterr().out
    assert main(["download", hub.name, "--file", "x.gguf"]) == EXIT_FAILED
    assert capfd.readouterr().err == f"{hub.name} has no file x.gguf. It has no GGUF file.\n"


@pytest.mark.skipif(os.name == "nt", reason="a console's Ctrl-C reaches every process on it")
def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(hub: FakeHub) -> None:
    with stalled_command(hub) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == EXIT_INTERRUPTED
    assert "Stopped. " in err
    assert "of 6.9 MB are kept. The same command goes on." in err
    assert "Traceback" not in err
    assert main(["download", hub.name]) == 0
    ranges = hub.asked("model.safetensors")
    assert [part is None for part in ranges] == [True, False]


def test_a_killed_command_takes_its_child_with_it(hub: FakeHub) -> None:
    with stalled_command(hub) as process:
        child = psutil.Process(process.pid).children()[0]
        process.kill()
        child.wait(10)
    assert not child.is_running()
