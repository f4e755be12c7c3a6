"""`prepare` as a process: its words, a kill, an interrupt, and how much memory it takes."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.__main__ import main
from core.data.mmap_file import MmapFileHandler
from core.data.tokenizer import Tokenizer
from tests.core.conftest import sentences


def write_texts(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_the_command_reports_files_places_and_what_was_not_held_out(
    tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number}.md").write_text(f"document of number {number} " * (number + 1))
    (tmp_path / "in" / "bad.jsonl").write_text("{\n")
    options = ["--output", str(tmp_path / "out"), "--tokenizer", str(tmp_path / "tokenizer"), "--workers", "1"]
    assert main(["prepare", str(tmp_path / "in"), *options, "--validation-ratio", "0", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("… 11 smaller files ") for line in lines)
    assert any("left out: bad.jsonl, line 1: broken JSON" in line for line in lines)
    assert lines[-2].startswith("Nothing was held out")
    assert json.loads(lines[-1])["kind"] == "pt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train-tokenizer", "5"], r"A vocabulary of 5 is too small.*Ask for at least \d+ pieces"),
        (["--train-tokenizer", "9000"], r"9000 could not be learnt: Vocabulary size too high.*Give more text"),
        (["--tokenizer", "nowhere"], r"nowhere.tokenizer\.json cannot be read"),
        (["--validation-ratio", "3"], r"validation_ratio is 3\.0, the maximum is 0\.5"),
    ],
)
def test_the_command_answers_wrong_options_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    path = write_texts(tmp_path / "a.jsonl", sentences(30, seed=4))
    assert main(["prepare", str(path), "--output", str(tmp_path / "out"), *options]) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.fixture
def started(tokenizer: Tokenizer, tmp_path: Path) -> Callable[[], subprocess.Popen[str]]:
    """Starts the command on 4,000 documents, in a process group of its own as a terminal would."""
    tokenizer.save(tmp_path / "tokenizer")
    write_texts(tmp_path / "a.jsonl", [text * 20 for text in sentences(4000, seed=3)])
    command = [sys.executable, "-m", "app", "prepare", str(tmp_path / "a.jsonl"), "--output", str(tmp_path / "out")]
    command += ["--tokenizer", str(tmp_path / "tokenizer"), "--workers", "2", "--near-duplicate-threshold", "1"]

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    return start


def wait_for(pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(folder.glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.slow
def test_a_killed_preparation_is_not_in_the_way_of_the_next(
    started: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    with started() as process:
        wait_for(".out.*.tmp/*.bin", tmp_path)
        process.kill()
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out.*.tmp"))
    with started() as process:
        assert "pt data in" in str(process.stdout and process.stdout.read())
    assert MmapFileHandler(tmp_path / "out", verify=True).num_documents("train") > 1000
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.slow
def test_an_interrupt_ends_at_once_with_one_word(started: Callable[[], subprocess.Popen[str]], tmp_path: Path) -> None:
    with started() as process:
        wait_for(".out.*.tmp", tmp_path)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate()[0]
    assert output.strip() == "Stopped."
    assert time.monotonic() - begin < 5
    assert not list(tmp_path.glob("*out*"))


MEASURE = """
import resource, sys
from pathlib import Path
from core.config.prepare_config import PrepareConfig
from core.data.prepare import prepare
from core.data.tokenizer import Tokenizer
source, tokenizer, output = map(Path, sys.argv[1:])
prepare([source], output, Tokenizer.load(tokenizer), PrepareConfig(workers=1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.long
@pytest.mark.slow
def test_memory_is_flat_however_large_the_input(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Sixteen times the text, 60 MB in place of 4, may cost 12 MB more."""
    tokenizer.save(tmp_path / "tokenizer")
    peaks = []
    for count in (1_000, 16_000):
        draw = np.random.default_rng(count)
        with gzip.open(tmp_path / f"{count}.jsonl.gz", "wt", compresslevel=1) as file:
            for _ in range(count):
                words = " ".join(map(str, draw.integers(10_000, size=800)))
                file.write(json.dumps({"text": words}) + "\n")
        command = [sys.executable, "-c", MEASURE, f"{count}.jsonl.gz", "tokenizer", f"out{count}"]
        environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        output = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(output.stdout))
    assert peaks[1] - peaks[0] < 12 * 2**20, peaks
