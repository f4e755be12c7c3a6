"""What `--listen` asks for, and what is said about it; the real program behind a password."""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import httpx
import pytest

from app.listen_option import THIS_MACHINE, add_listen_options, opening
from app.loopback import HOST
from core.errors import ConfigError
from tests.conftest import ROOT

WORDS = "correct horse battery"


def parsed(*options: str) -> Namespace:
    parser = ArgumentParser()
    add_listen_options(parser)
    return parser.parse_args(options)


def test_without_it_this_machine_alone_is_served() -> None:
    assert opening(parsed()) == THIS_MACHINE
    assert (THIS_MACHINE.host, THIS_MACHINE.is_open, THIS_MACHINE.names) == (HOST, False, ())


def test_every_address_takes_their_names_and_the_given_ones() -> None:
    opened = opening(parsed("--listen", "--name", "box.local", "--name", "https://chat.example"))
    assert opened.is_open
    assert opened.own_host == HOST
    assert opened.names[-2:] == ("box.local", "https://chat.example")
    assert (opened.has_proxy, opening(parsed("--listen", "--name", "box.local")).has_proxy) == (True, False)
    assert not any(name.startswith("127.") for name in opened.names)


def test_what_is_open_is_said_and_to_whom() -> None:
    said = opening(parsed("--listen", "192.168.1.5", "--name", "https://chat.example")).sentence(
        7860, opens="the chats", needs="password"
    )
    assert "http://192.168.1.5:7860" in said
    assert "https://chat.example" in said
    assert "gives the password can use the chats" in said
    assert "not encrypted" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--listen", "box.local"], "is no address"),
        (["--listen", "127.0.0.1"], "opens nothing"),
        (["--listen", "::1"], "opens nothing"),
        (["--name", "box.local"], "of use with --listen alone"),
        (["--listen", "--name", "bad name"], "is no name of a machine"),
        (["--listen", "--name", "*"], "is no name of a machine"),
        (["--listen", "--name", "ftp://box.local"], "is no name of a machine"),
        (["--listen", "--name", "https://"], "is no name of a machine"),
    ],
)
def test_what_cannot_be_is_a_sentence(options: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        opening(parsed(*options))


@pytest.mark.slow
def test_the_program_opens_to_others_with_a_password_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0", "--listen"]
    environment = os.environ | {"ASTRAI_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    refused = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "needs a password" in refused.stderr
    environment["ASTRAI_PASSWORD"] = WORDS
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "not encrypted" in line:
                break
        port = int(re.findall(r"http://127\.0\.0\.1:(\d+)/", said)[0])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as browser:
            assert browser.get("/").status_code == 401
            headers = {"origin": f"http://127.0.0.1:{port}"}
            assert browser.post("/login", data={"password": "a wrong guess"}, headers=headers).status_code == 401
            assert browser.post("/login", data={"password": WORDS}, headers=headers).status_code == 200
            assert browser.get("/config").status_code == 200
            assert browser.get("/", headers={"host": f"evil.example:{port}"}).status_code == 421
        process.terminate()
    kept = "".join(path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file())
    assert "OPEN TO OTHER MACHINES" in said
    assert WORDS not in said + kept
    modes = {path.name: oct(path.stat().st_mode & 0o077) for path in tmp_path.rglob("*")}
    assert {name: mode for name, mode in modes.items() if mode != "0o0"} == {}
