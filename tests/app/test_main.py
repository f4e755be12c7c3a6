"""The command line: words, help, and what becomes of failures."""

import logging
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app import __main__ as command_line
from app.commands import COMMANDS
from app.paths import ROOT
from core.errors import DataError


def put_command(monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    """Make `doctor` fail in this way."""

    def run(arguments: Namespace) -> int:
        raise failure

    module = SimpleNamespace(__doc__="Fails.", add_arguments=lambda parser: None, run=run)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: module)


def test_an_error_with_a_remedy_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put_command(monkeypatch, DataError("Row 3 is empty.", "Delete it."))
    assert command_line.main(["doctor"]) == 1
    assert capsys.readouterr().err == "Row 3 is empty. Delete it.\n"


def test_an_unforeseen_error_goes_to_the_log_and_not_to_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own_data_folder: Path
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # pytest's own would stand in the way of ours
    put_command(monkeypatch, ZeroDivisionError("division by zero"))
    assert command_line.main(["doctor"]) == 70
    errors = capsys.readouterr().err
    log = own_data_folder / "logs" / "astrai.log"
    assert str(log) in errors
    assert errors.count("\n") == 1
    assert "Traceback" in log.read_text()
    logging.root.handlers[0].close()


def test_ctrl_c_is_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    put_command(monkeypatch, KeyboardInterrupt())
    assert command_line.main(["doctor"]) == 130


def test_a_data_folder_that_cannot_be_made_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASTRAI_HOME", str(tmp_path / "file" / "home"))
    assert command_line.main(["doctor"]) == 1
    assert "Set ASTRAI_HOME" in capsys.readouterr().err


def test_a_mistyped_word_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["docter"]) == 1
    assert 'Did you mean "doctor"?' in capsys.readouterr().err


def test_options_without_a_word_are_for_the_page() -> None:
    assert command_line.split_word(["--port", "0"]) == ("app", ["--port", "0"])


@pytest.mark.parametrize("word", COMMANDS)
def test_every_word_has_help_and_loads_no_torch(word: str) -> None:
    program = (
        "import sys; from app.__main__ import main\n"
        f"try: main([{word!r}, '--help'])\n"
        "except SystemExit as end: sys.exit(end.code or int('torch' in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert f"usage: python launch.py {word}" in result.stdout


def test_a_word_reads_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int)

    module = SimpleNamespace(__doc__="Counts.", add_arguments=add_arguments, run=lambda arguments: arguments.count)
    monkeypatch.setattr(command_line.importlib, "import_module", lambda name: module)
    assert command_line.main(["doctor", "--count", "7"]) == 7
