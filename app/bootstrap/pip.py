"""pip in .venv: run it with progress, keep what it said in a log, and say its failures in one sentence."""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from core.errors import SetupError

REDRAW_S = 1.0
QUIET_LINE_S = 15.0
STOP_S = 10.0
OPTIONS = ("--no-input", "--disable-pip-version-check")

# In this order: a machine without network also fails to find versions, a full disk also breaks hashes.
FAILURES = (
    (
        r"No space left on device|not enough space on the disk|Errno 28",
        "The disk is full.",
        "Free some space and start again; what was downloaded is kept.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index's certificate was not accepted.",
        "Behind a proxy that opens TLS, give its certificate to pip: pip config set global.cert FILE.",
    ),
    (
        (
            r"NewConnectionError|Failed to establish a new connection|Connection refused|Name or service not known"
            r"|name resolution|getaddrinfo failed|Network is unreachable|ProxyError|timed out|Max retries exceeded"
            r"|Connection (?:reset|aborted|broken)|IncompleteRead"
        ),
        "The package index cannot be reached.",
        "Check the network (and pip's proxy settings), then start again; it goes on where it stopped.",
    ),
    (
        r"DO NOT MATCH THE HASHES",
        "A downloaded package is not the one that was locked.",
        "Start again; if it stays so, the index or a proxy serves changed files.",
    ),
    (
        r"No matching distribution found for ([^\s(]+)",
        "There is no ready-made {0} for this Python and system.",
        "Use Python 3.12 or 3.13 of python.org, 64-bit, or your system's own.",
    ),
)


@dataclass(kw_only=True, slots=True)
class Progress:
    """What pip has done so far, drawn on one line of a terminal or now and then in a file.

    `total` is the number of packages of this step; packages that do not apply here are taken off.
    """

    title: str
    total: int
    stream: TextIO = field(default_factory=lambda: sys.stderr)
    packages: int = 0
    downloaded_bytes: int = 0
    file_bytes: int = 0
    is_installing: bool = False
    started: float = field(default_factory=time.monotonic)
    drawn: float = 0.0

    def see(self, line: str) -> None:
        """Take in one line that pip wrote."""
        text = line.strip()
        if text.startswith("Ignoring "):
            self.total -= 1
        elif text.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ")):
            self.packages = min(self.packages + 1, self.total)
        elif text.startswith("Installing collected packages"):
            self.is_installing = True
        elif found := re.match(r"Progress (\d+) of ", text):
            self.file_bytes = int(found[1])
        elif text.startswith("Downloading "):
            self.downloaded_bytes, self.file_bytes = self.downloaded_bytes + self.file_bytes, 0

    def draw(self) -> None:
        """Show the state, not more often than a reader can use."""
        is_terminal = self.stream.isatty()
        if time.monotonic() - self.drawn < (REDRAW_S if is_terminal else QUIET_LINE_S):
            return
        self.drawn = time.monotonic()
        self.stream.write(f"\r{self.text()}\x1b[K" if is_terminal else f"{self.text()}\n")
        self.stream.flush()

    def finish(self, *, is_done: bool) -> None:
        """Draw the last state and end the line."""
        self.is_installing = False
        if is_done:
            self.packages = self.total
        self.stream.write(f"\r{self.text()}\x1b[K\n" if self.stream.isatty() else f"{self.text()}\n")
        self.stream.flush()

    def text(self) -> str:
        """The state in words."""
        elapsed_s = int(time.monotonic() - self.started)
        doing = ", writing them to disk" if self.is_installing else ""
        megabytes = (self.downloaded_bytes + self.file_bytes) / 1e6
        size = f", {megabytes:.0f} MB downloaded" if megabytes >= 1 else ""
        return f"{self.title}: {self.packages} of {self.total}{size}{doing}, {elapsed_s // 60}:{elapsed_s % 60:02d}"


def install(python: Path, arguments: Sequence[str], *, progress: Progress, log: Path, lock: int) -> None:
    """Run `pip install` with these arguments.

    `lock` is the descriptor of the held lock: pip inherits it, so that it stays held while pip lives.
    Raises: SetupError with pip's failure in words.
    """
    command = [str(python), "-m", "pip", "install", *OPTIONS, *arguments]
    inherited = (lock,) if os.name == "posix" else ()
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            pass_fds=inherited,
        ) as process,
    ):
        try:
            output = _follow(process, file, progress)
        except BaseException:
            _stop(process)
            raise
    progress.finish(is_done=process.returncode == 0)
    if process.returncode:
        raise failure(output, log)


def dry_run(python: Path, requirement: str) -> str:
    """Ask pip what it would install: its report, as JSON.

    Raises: SetupError with pip's failure in words.
    """
    options = ("--quiet", "--dry-run", "--ignore-installed", "--report", "-")
    command = [str(python), "-m", "pip", "install", *OPTIONS, *options, requirement]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        raise failure(result.stdout + result.stderr, None)
    return result.stdout


def uninstall(python: Path, name: str) -> None:
    """Remove one package if it is installed."""
    command = [str(python), "-m", "pip", "uninstall", "--yes", "--quiet", *OPTIONS, name]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        raise failure(result.stdout + result.stderr, None)


def failure(output: str, log: Path | None) -> SetupError:
    """The error for what pip wrote before it failed."""
    for pattern, message, remedy in FAILURES:
        if found := re.search(pattern, output):
            return SetupError(message.format(*found.groups()), remedy)
    errors = re.findall(r"^error: (.+)$", output, re.MULTILINE | re.IGNORECASE)
    where = f"The whole of its output is in {log}." if log else "Start again."
    return SetupError(f"pip failed: {errors[-1] if errors else 'it gave no reason.'}", where)


def _follow(process: subprocess.Popen[str], log: TextIO, progress: Progress) -> str:
    """Read pip's output to its end; the clock of the progress line goes on while pip is silent."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_pump, args=(process, lines), daemon=True).start()
    seen: list[str] = []
    while True:
        try:
            line = lines.get(timeout=REDRAW_S)
        except queue.Empty:
            progress.draw()
            continue
        if line is None:
            return "".join(seen)
        if not line.startswith("Progress "):
            seen.append(line)
            log.write(line)
        progress.see(line)
        progress.draw()


def _pump(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
