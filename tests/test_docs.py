"""What the documents say is true of the repository: their links, their commands, their two languages."""

import importlib
import re
import shlex
from argparse import ArgumentParser
from pathlib import Path

import pytest

from app.commands import split_word
from tests.conftest import ROOT

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith((".", "runs")) for part in path.relative_to(ROOT).parts)
)
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
COMMAND = re.compile(r"^python launch\.py\b(.*)$", re.MULTILINE)
READMES = ("README.md", "README.zh-CN.md")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_leads_to_a_file_and_nothing_is_left_to_fill_in(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [link for link in LINK.findall(text) if not (path.parent / link).exists()] == []
    assert "@@" not in text


@pytest.mark.parametrize("readme", READMES)
def test_every_command_of_the_readme_is_one_that_the_program_takes(readme: str) -> None:
    commands = COMMAND.findall((ROOT / readme).read_text(encoding="utf-8"))
    assert len(commands) >= 7
    for command in commands:
        word, options = split_word(shlex.split(command, comments=True))
        module = importlib.import_module(f"app.commands.{word}")
        parser = ArgumentParser(prog=word)
        module.add_arguments(parser)
        parser.parse_args(options)


def test_both_readmes_show_the_same_commands_and_code() -> None:
    blocks = [re.findall(r"```.*?```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL) for readme in READMES]
    english, chinese = ([re.sub(r" +#.*", "", block) for block in found] for found in blocks)
    assert english == chinese
