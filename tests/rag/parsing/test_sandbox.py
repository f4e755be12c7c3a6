"""The child that reads documents: what it may not do, what it may not cost, and that its end is not ours."""

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from core.errors import DocumentError
from rag.parsing import Limits, Parser, is_supported, parse, render_page
from rag.parsing.kinds import shown
from rag.parsing.sandbox import ROOT
from tests.rag.parsing.pdf_maker import PdfPage, Text, make_pdf

ON_POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals and rlimits")


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note.txt"
    path.write_text("Some words.", encoding="utf-8")
    return path


def child_pid(parser: Parser) -> int:
    assert parser._child is not None
    return parser._child._process.pid


def in_confinement(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program as the child would be when it reads."""
    preamble = (
        "from rag.parsing.confine import confine; from rag.parsing.limits import Limits; confine(Limits(), None)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", preamble + program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )


def test_one_child_reads_many_files_and_ends_with_the_parser(note: Path) -> None:
    with Parser() as parser:
        pids = {(parser.parse(note).text, child_pid(parser)) for _ in range(3)}
    assert len(pids) == 1
    assert not psutil.pid_exists(child_pid(parser))


def test_a_single_file_needs_no_parser(note: Path, tmp_path: Path) -> None:
    assert parse(note).text == "Some words."
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(PdfPage([Text(72, 700, "Words")])))
    assert render_page(path, 1, []).startswith(b"\x89PNG")


def test_a_child_is_replaced_after_its_share_of_files(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.parsing.sandbox.FILES_PER_CHILD", 2)
    with Parser() as parser:
        pids = [parser.parse(note) and child_pid(parser) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


@ON_POSIX
def test_a_child_that_dies_is_replaced(note: Path) -> None:
    with Parser() as parser:
        parser.parse(note)
        psutil.Process(child_pid(parser)).kill()
        time.sleep(0.2)
        assert parser.parse(note).text == "Some words."


def test_a_file_that_needs_too_long_is_refused_and_the_next_is_read(note: Path, tmp_path: Path) -> None:
    slow = tmp_path / "slow.pdf"
    slow.write_bytes(make_pdf(*[PdfPage([Text(72, 20 + i, "word " * 40, 1) for i in range(700)])] * 30))
    with Parser(Limits(base_cpu_s=0.3, cpu_s_per_mb=0)) as parser:
        started = time.monotonic()
        with pytest.raises(DocumentError, match=r"slow\.pdf: reading it took more than \d+ seconds"):
            parser.parse(slow)
        assert time.monotonic() - started < 30
        assert parser.parse(note).text == "Some words."


def test_a_file_that_needs_too_much_memory_is_refused(note: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_text("[" + "{}," * 3_000_000 + "{}]", encoding="utf-8")
    with Parser(Limits(memory_bytes=150 * 2**20)) as parser:
        with pytest.raises(DocumentError, match=r"large\.json: reading it took more (than 150 MB of )?memory"):
            parser.parse(large)
        assert parser.parse(note).text == "Some words."


def test_a_text_of_too_many_characters_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("word " * 1000, encoding="utf-8")
    with pytest.raises(DocumentError, match="more than 4,000 characters of text"):
        parse(path, limits=Limits(num_characters=4000))


def test_a_file_that_is_too_large_is_not_opened(note: Path) -> None:
    with pytest.raises(DocumentError, match=r"note\.txt: it is 0 MB; at most 0 MB are read"):
        parse(note, limits=Limits(file_bytes=3))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="is no regular file"):
        parse(tmp_path)
    with pytest.raises(DocumentError, match=r"gone\.txt: it cannot be read: No such file"):
        parse(tmp_path / "gone.txt")


@ON_POSIX
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DocumentError, match="is no regular file"):
        parse(tmp_path / "pipe.txt")


def test_closing_from_another_thread_stops_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "slow.pdf"
    path.write_bytes(make_pdf(*[PdfPage([Text(72, 20 + i, "word " * 40, 1) for i in range(700)])] * 60))
    parser = Parser()
    threading.Timer(1.0, parser.close).start()
    with pytest.raises(DocumentError, match=r"stopped|broke its reader"):
        parser.parse(path)


@ON_POSIX
def test_the_child_ends_when_its_parent_is_killed(note: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from rag.parsing import Parser\n"
        f"parser = Parser(); parser.parse(Path({str(note)!r}))\n"
        "print(parser._child._process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=10)


@ON_POSIX
def test_the_child_has_no_secrets_and_no_heavy_library(note: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Parser() as parser:
        parser.parse(note)
        process = psutil.Process(child_pid(parser))
        assert "HF_TOKEN" not in process.environ()
        assert process.memory_info().rss < 60 * 2**20
    program = "import sys, rag.parsing.child; print({'torch', 'sentence_transformers', 'faiss'} & sys.modules.keys())"
    assert in_confinement(program).stdout.strip() == "set()"


@pytest.mark.parametrize(
    "program",
    [
        "import socket; socket.socket()",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')",
        "open('/tmp/astrai-canary', 'w')",
        "open('/etc/passwd')",
        "import os; os.remove('/tmp/astrai-canary')",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
    ],
)
def test_the_child_may_not(program: str) -> None:
    result = in_confinement(program)
    assert result.returncode == 1
    assert "a document's reader may" in result.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter is Linux's")
def test_the_kernel_refuses_a_socket_that_python_does_not_see() -> None:
    program = "import ctypes; c = ctypes.CDLL(None, use_errno=True); print(c.socket(2, 1, 0), ctypes.get_errno())"
    assert in_confinement(program).stdout.split() == ["-1", "13"]


@ON_POSIX
def test_files_cannot_grow_and_few_may_be_open() -> None:
    program = "import resource as r; print(r.getrlimit(r.RLIMIT_FSIZE)[0], r.getrlimit(r.RLIMIT_NOFILE)[0])"
    assert in_confinement(program).stdout.split() == ["0", str(Limits().num_open_files)]


FAKE_TESSERACT = """#!{python}
import sys
if "--list-langs" in sys.argv:
    print("List of languages:\\nchi_sim\\neng")
else:
    sys.stdin.buffer.read()
    print("level\\tpage\\tblock\\tpar\\tline\\tword\\tleft\\ttop\\twidth\\theight\\tconf\\ttext")
    for i, word in enumerate(["Scanned", "words", "扫描", "文字"]):
        line, left, top = 1 + i // 2, 100 + 200 * (i % 2), 300 + 100 * (i // 2)
        print(5, 1, 1, 1, line, i, left, top, 180, 40, 95, word, sep="\\t")
"""


@ON_POSIX
def test_a_scan_is_read_by_tesseract_and_its_boxes_are_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "tesseract"
    program.parent.mkdir()
    program.write_text(FAKE_TESSERACT.format(python=sys.executable), encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent))
    path = tmp_path / "scan.pdf"
    path.write_bytes(make_pdf(PdfPage(has_picture=True)))
    document = parse(path)
    assert document.text == "Scanned words\n\n扫描文字"
    assert list(map(str, document.notes)) == ["image only: 1 of 1 pages", "recognised by tesseract: 1 of 1 pages"]
    first = document.lines[0].box
    assert (first.left, first.top, first.right) == (
        pytest.approx(24, abs=0.5),
        pytest.approx(72, abs=0.5),
        pytest.approx(115.2, abs=0.5),
    )
    assert is_supported(Path("photo.jpg"))


def test_pictures_are_offered_only_with_tesseract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert not is_supported(Path("photo.jpg"))
    assert is_supported(Path("REPORT.PDF"))
    assert not is_supported(Path("old.doc"))


def test_a_name_for_a_message_is_one_short_line() -> None:
    assert shown(Path("a\nb\u202egpj.exe")) == "a�b�gpj.exe"
    assert len(shown(Path("x" * 300))) < 90


def test_a_file_without_pages_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Words", encoding="utf-8")
    with pytest.raises(DocumentError, match="it has no pages to show"):
        render_page(path, 1, [])
