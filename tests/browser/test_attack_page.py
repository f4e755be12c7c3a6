"""A page of another site, in a browser that is logged in: it reads nothing here and changes nothing.

Chromium takes evil.test for this machine, so the page can also be one that rebinds its own name to the program's port.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ANNOUNCEMENT, OPTIONS
from tests.conftest import CHROMIUM_NAMES, ROOT
from tests.figures import Figure

EVIL = "evil.test"
PAGE = (Path(__file__).parent / "attack.html").read_bytes()

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(240)]


class Attacker(BaseHTTPRequestHandler):
    """Serves the attack page, whatever is asked."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture(scope="module")
def evil_port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Attacker)
    threading.Thread(target=server.serve_forever).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def login(home: Path) -> Iterator[str]:
    """The login link of a running program."""
    command = [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0"]
    environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield next(line for line in process.stdout if line.startswith(ANNOUNCEMENT)).split()[-1]
        process.terminate()


@pytest.fixture(scope="module")
def misled_browser() -> Iterator[Browser]:
    executable = next(path for path in map(shutil.which, CHROMIUM_NAMES) if path)
    options = [*OPTIONS, f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=options)
        yield chromium
        chromium.close()


def kept(home: Path) -> dict[str, str]:
    """Everything that lies in the data folder but the log."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file() and path.parent.name != "logs"
    }


def settled(home: Path) -> dict[str, str]:
    """What is kept once the user's own page has opened all that it needs."""
    before: dict[str, str] = {}
    for _ in range(30):
        now = kept(home)
        if now == before and "preferences/preferences.db" in now:
            return now
        before = now
        time.sleep(2)
    raise AssertionError("the page does not come to rest")


@pytest.mark.long
def test_a_page_of_another_site_reads_nothing_and_changes_nothing(
    misled_browser: Browser, login: str, home: Path, evil_port: int, figure: Figure
) -> None:
    base = login.partition("/login")[0]
    port = base.rpartition(":")[2]
    context = misled_browser.new_context()
    user = context.new_page()
    user.goto(login)
    user.wait_for_selector("#composer textarea", timeout=60_000)
    before = settled(home)
    read: list[str] = []
    for site, target in ((EVIL, base), (EVIL, f"http://{EVIL}:{port}"), ("127.0.0.1", base), ("localhost", base)):
        page = context.new_page()
        page.goto(f"http://{site}:{evil_port}")
        read += [f"{site} read {what}" for what in page.evaluate("base => run(base)", target)]
        page.close()
    rebound = context.new_page()
    answer = rebound.goto(f"http://{EVIL}:{port}/")
    assert answer is not None
    assert answer.status == 421
    changed = {name for name in before | kept(home) if before.get(name) != kept(home).get(name)}
    figure("G12 readable", len(read) + len(changed))
    assert (read, changed) == ([], set())
    user.reload()
    user.wait_for_selector("#composer textarea", timeout=60_000)  # and the user is still let in
    context.close()
