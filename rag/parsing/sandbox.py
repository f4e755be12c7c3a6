"""The parent's side of reading documents: a child process that is watched, and replaced after a failure.

A request is one line of JSON on the child's standard input, then the file itself: the child opens none. The answer is
one line of JSON on its standard output, which names the size of what follows. The child runs in a process group and
with an environment of its own.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Self

import psutil

from core.parallel.priority import is_lowered, lower_session
from rag.documents import Box, Heading, Line, Page, ParsedDocument
from rag.parsing.kinds import can_need_ocr, shown
from rag.parsing.limits import Limits
from rag.parsing.ocr import find_tesseract
from rag.remarks import RefusedError, Remark

ROOT = Path(__file__).resolve().parents[2]
FILES_PER_CHILD = 500  # what a library leaks goes with the child
COPY_BYTES = 2**20
WATCH_INTERVAL_S = 0.05
MAX_HEADER_BYTES = 64 * 1024
BYTES_PER_CHARACTER = 12  # of an answer: characters in JSON, and their lines
KEPT_VARIABLES = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TESSDATA_PREFIX", "LANG", "LC_ALL")
RENDER_CPU_S = 30.0


class Parser:
    """Reads documents in one long-lived child process. For use in a `with` block; of one thread at a time."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parse(self, path: Path) -> ParsedDocument:
        """The text of a file. Raises: DocumentError, one true sentence and what to do."""
        size = _check_file(path, self.limits)
        cpu_s = self.limits.cpu_s(size)
        wall_s = cpu_s * self.limits.wall_factor
        wall_s += self.limits.ocr_s if can_need_ocr(path) and find_tesseract() else 0.0
        return _document(json.loads(self._ask({"work": "parse", "cpu_s": cpu_s}, path, size, wall_s)))

    def render_page(self, path: Path, page: int, boxes: Sequence[Box], *, scale: float = 2.0) -> bytes:
        """A page of a PDF as PNG, `scale` pixels a point, with boxes marked. Raises: DocumentError."""
        size = _check_file(path, self.limits)
        corners = [[box.left, box.top, box.right, box.bottom] for box in boxes]
        request = {"work": "render", "cpu_s": RENDER_CPU_S, "page": page, "boxes": corners, "scale": scale}
        return self._ask(request, path, size, RENDER_CPU_S * self.limits.wall_factor)

    def close(self) -> None:
        """End the child. From another thread this ends the work under way."""
        child = self._child
        if child is not None:
            child.end(Remark("stopped"))

    def _ask(self, request: dict[str, Any], path: Path, size: int, wall_s: float) -> bytes:
        request = {**request, "name": shown(path), "size": size}
        with self._lock, _opened(path) as file:
            if self._child is None or self._child.is_spent():
                if self._child is not None:
                    self._child.end()
                self._child = _Child(self.limits)
            try:
                return self._child.ask(request, file, wall_s)
            except _ChildFailedError as exc:
                self._child.end()
                raise RefusedError(exc.remark.code, file=shown(path), **exc.remark.values) from exc
            except RefusedError as exc:
                raise exc.about(shown(path)) from None
            except BaseException:  # Ctrl-C among them: an answer that nobody has read would be that to the next file
                self._child.end()
                raise


class _ChildFailedError(Exception):
    """The child has ended, or its answer makes no sense."""

    def __init__(self, remark: Remark) -> None:
        super().__init__(str(remark))
        self.remark = remark


class _Child:
    """One process, and the watch over it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._num_files = 0
        self._reason: Remark | None = None
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rag.parsing.child", json.dumps(asdict(limits))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=_environment(),
            start_new_session=True,
        )
        if is_lowered():
            lower_session(self._process.pid)

    def is_spent(self) -> bool:
        """Whether another child should do the next file."""
        return self._num_files >= FILES_PER_CHILD or self._process.poll() is not None

    def ask(self, request: dict[str, Any], file: IO[bytes], wall_s: float) -> bytes:
        """Raises: DocumentError as the child tells it, _ChildFailedError when it has ended or was ended."""
        self._num_files += 1
        is_done = threading.Event()
        watch = threading.Thread(target=self._watch, args=(request["cpu_s"], wall_s, is_done), daemon=True)
        watch.start()
        try:
            return self._exchange(request, file)
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise _ChildFailedError(self._why()) from exc
        finally:
            is_done.set()
            watch.join()

    def end(self, reason: Remark | None = None) -> None:
        """End the process and all that it has started."""
        self._kill(reason)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what it has not read cannot be flushed
                    stream.close()

    def _exchange(self, request: dict[str, Any], file: IO[bytes]) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        num_left = request["size"]
        while num_left:
            part = file.read(min(num_left, COPY_BYTES))
            if not part:
                self._kill(Remark("changed"))
                raise ValueError(f"{num_left} bytes are missing")
            num_left -= stdin.write(part)
        stdin.flush()
        header = json.loads(stdout.readline(MAX_HEADER_BYTES))
        if "remark" in header:
            raise RefusedError.of(Remark.from_json(header["remark"]))
        size = int(header["size"])
        if not 0 <= size <= self._limits.num_characters * BYTES_PER_CHARACTER:
            raise ValueError(f"an answer of {size} bytes")
        answer = stdout.read(size)
        if len(answer) != size:
            raise ValueError(f"{len(answer)} of {size} bytes")
        return answer

    def _watch(self, cpu_s: float, wall_s: float, is_done: threading.Event) -> None:
        """End the child when it takes too long or too much memory; the reader of its answer then sees it end."""
        deadline_s = time.monotonic() + wall_s
        cpu_deadline_s = _computed_s(self._process.pid) + cpu_s
        while not is_done.wait(WATCH_INTERVAL_S):
            if _resident_bytes(self._process.pid) > self._limits.memory_bytes:
                self._kill(Remark("too_much_memory", {"most_mb": self._limits.memory_bytes / 2**20}))
            elif _computed_s(self._process.pid) > cpu_deadline_s:
                self._kill(Remark("too_much_computing", {"seconds": cpu_s}))
            elif time.monotonic() > deadline_s:
                self._kill(Remark("too_long", {"seconds": wall_s}))

    def _kill(self, reason: Remark | None) -> None:
        self._reason = self._reason or reason
        with suppress(psutil.Error, OSError):
            if os.name == "posix":
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                process = psutil.Process(self._process.pid)
                for one in [*process.children(recursive=True), process]:
                    one.kill()

    def _why(self) -> Remark:
        """What has ended the child."""
        if self._reason:
            return self._reason
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return Remark("senseless_answer")
        return Remark("broke_reader", {"status": status})


def _check_file(path: Path, limits: Limits) -> int:
    """The size of a file that is fit to be opened. Raises: DocumentError."""
    try:
        is_file, size = path.is_file(), path.stat().st_size
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise RefusedError("unreadable", file=shown(path), reason=str(reason)) from exc
    if not is_file:
        raise RefusedError("no_file", file=shown(path))
    if size > limits.file_bytes:
        raise RefusedError("file_too_large", file=shown(path), size_mb=size / 1e6, most_mb=limits.file_bytes / 1e6)
    return size


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        raise RefusedError("unreadable", file=shown(path), reason=str(exc.strerror)) from exc


def _environment() -> dict[str, str]:
    """What Python and tesseract need, and nothing that is a secret."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_THREAD_LIMIT": "1",
    }


def _resident_bytes(pid: int) -> int:
    """Memory of a process, without that of the programs it has started: those have its rlimits."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _computed_s(pid: int) -> float:
    """Computing time of a process so far, without that of the programs it has started."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def _document(fields: dict[str, Any]) -> ParsedDocument:
    """The answer as a document. Raises: ValueError, KeyError, TypeError when it is none."""
    return ParsedDocument(
        str(fields["kind"]),
        str(fields["title"]),
        str(fields["text"]),
        tuple(Page(*page) for page in fields["pages"]),
        tuple(Line(start, end, page, Box(*box)) for start, end, page, *box in fields["lines"]),
        tuple(Heading(*heading) for heading in fields["headings"]),
        tuple(map(Remark.from_json, fields["notes"])),
    )
