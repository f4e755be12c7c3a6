"""One page for one data folder: ten starts at once give one, a killed one leaves no trace that stops the next."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from app import instance
from app.commands import app as command
from app.guard import session_secret
from app.instance import NOTE, Running, TakenError, announce, only_instance, running_instance
from app.login_links import LoginLinks
from core.folders import data_dir
from tests.conftest import ROOT

HOLDER = """
import sys, time
from pathlib import Path
from app.instance import TakenError, announce, only_instance
folder = Path(sys.argv[1])
try:
    with only_instance(folder):
        announce(folder, 7999)
        print("runs", flush=True)
        sys.stdin.read()
except TakenError as exc:
    print("taken", exc.running.port if exc.running else "", flush=True)
"""


def start(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLDER, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_one_learns_where_the_first_is_and_the_first_leaves_nothing(tmp_path: Path) -> None:
    assert running_instance(tmp_path) is None
    with only_instance(tmp_path):
        announce(tmp_path, 7862)
        with pytest.raises(TakenError, match=rf"at http://127\.0\.0\.1:7862/ \(process {os.getpid()}\)"):
            only_instance(tmp_path).__enter__()
        found = running_instance(tmp_path)
        assert found is not None
        assert (found.port, found.pid) == (7862, os.getpid())
    assert (running_instance(tmp_path), (tmp_path / NOTE).exists()) == (None, False)


@pytest.mark.slow
def test_of_ten_started_at_once_one_runs_and_a_killed_one_is_followed_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path) for _ in range(10)]
    words = [said(process) for process in processes]
    assert sorted(words) == ["runs"] + ["taken 7999"] * 9
    winner = processes[words.index("runs")]
    winner.send_signal(signal.SIGKILL)
    winner.wait()
    assert (tmp_path / NOTE).exists()
    assert running_instance(tmp_path) is None
    following = start(tmp_path)
    assert said(following) == "runs"
    for process in (*processes, following):
        process.communicate()


@contextmanager
def answering() -> Iterator[int]:
    """A page that says that it is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_second_start_opens_the_page_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    with answering() as port:
        taken = TakenError(tmp_path, Running(1, port, 0.0))
        assert command.show_running(taken, opens_browser=True) == 0
        assert command.show_running(taken, opens_browser=False) == 0
    links = LoginLinks(session_secret(data_dir() / command.SESSION_KEY), port)
    address, _, token = opened[0].partition("/login?token=")
    assert (len(opened), address) == (1, f"http://127.0.0.1:{port}")
    assert (links.take(token), links.take(token)) == (True, False)
    assert f"AstrAI runs already on the data folder {tmp_path} at http://127.0.0.1:{port}/" in capsys.readouterr().out


def test_one_that_does_not_answer_is_named_with_its_process(tmp_path: Path) -> None:
    taken = TakenError(tmp_path, Running(4321, 9, 0.0))
    with pytest.raises(TakenError, match=r"\(process 4321\)\. Use that one, or end it first"):
        command.show_running(taken, opens_browser=True)


def test_a_start_that_waits_for_a_port_is_waited_for_no_longer_than_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "WAIT_S", 0.1)
    with only_instance(tmp_path), pytest.raises(TakenError, match="Use that one") as caught:
        only_instance(tmp_path).__enter__()
    assert caught.value.running is None
