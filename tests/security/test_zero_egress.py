"""A session of the program under strace: page, chat, library, training form; every connection stays on this machine."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.figures import Figure

ANNOUNCED = re.compile(r"AstrAI is at (\S+)")
ADDRESS = r"(?:inet_addr\(\"|inet_pton\(AF_INET6, \")([^\"]+)"
REACHED = re.compile(rf"(?:connect|sendto|sendmsg|sendmmsg)\(.*?{ADDRESS}")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)"),
]


def ask_everything(login: str) -> None:
    """What a browser and a program ask in a session."""
    base = login.partition("/login")[0]
    with httpx.Client(base_url=base, timeout=60, headers={"sec-fetch-site": "same-origin"}) as browser:
        browser.get(login)
        config = browser.get("/config").json()
        assert config["components"]
        for path in ("/", "/theme.css", "/studio/runs", "/manifest.json"):
            assert browser.get(path).status_code == 200
        for number in range(len(config["dependencies"])):  # every handler of the page, with nothing in its hands
            event = {"data": [], "fn_index": number, "session_hash": "session", "trigger_id": None, "event_data": None}
            browser.post("/gradio_api/queue/join", json=event)
        file = {"path": "http://192.0.2.1/x.png", "url": "http://192.0.2.1/x.png", "meta": {"_type": "gradio.FileData"}}
        for number in range(len(config["dependencies"])):
            event = {"data": [file], "fn_index": number, "session_hash": "session", "event_data": file}
            browser.post("/gradio_api/run/predict", json=event)
        dropped = {"content-type": "application/octet-stream"}
        browser.post("/library/files/batch00001?name=a.md&collection=c", content=b"# A\n\nText.", headers=dropped)


def test_a_session_connects_to_this_machine_alone(tmp_path: Path, figure: Figure) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-o", str(trace), "-e", "trace=connect,sendto,sendmsg,sendmmsg", "--"]
    command += [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0"]
    environment = os.environ | {"ASTRAI_HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
    environment.pop("HF_HUB_OFFLINE")  # the program sets by itself what it needs
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        login = next(found[1] for line in process.stdout if (found := ANNOUNCED.match(line)))
        ask_everything(login)
        process.send_signal(signal.SIGINT)
        process.wait(60)
    text = trace.read_text(encoding="utf-8", errors="replace")
    outside = {address for address in REACHED.findall(text) if not re.fullmatch(r"127\..*|::1", address)}
    figure("G13 connections", len(outside))
    assert outside == set()
