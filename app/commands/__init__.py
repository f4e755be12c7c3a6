"""The words of the command line. Each is a module here with `add_arguments(parser)` and `run(arguments)`.

A module brings its libraries when its word runs, so `--help` costs nothing. This file is standard library
only: `launch.py` reads it before anything is installed.
"""

import difflib
from argparse import ArgumentParser, Namespace
from typing import Protocol

from core.errors import ConfigError

PROGRAM = "python launch.py"
COMMANDS: dict[str, str] = {
    "app": "open the assistant in the browser (also without a word)",
    "serve": "answer OpenAI-style requests on this machine",
    "chat": "chat in the terminal",
    "generate": "continue a text, or answer a file of prompts",
    "download": "fetch a model from the hub",
    "add": "copy a model of this disk into the models folder, checked",
    "prepare": "turn files into a token data set",
    "train": "train a model on a data set (--detach: as a run of the studio)",
    "runs": "list the studio's runs",
    "stop": "stop a run of the studio, with a checkpoint",
    "resume": "go on with a run that stopped, failed or was interrupted",
    "tail": "follow a run: its steps, and what it says",
    "eval": "score a model on text files",
    "merge": "make an adapter and its base one model",
    "export": "write a model for other programs, or quantised",
    "backup": "write conversations, ratings, library and settings into one file",
    "restore": "take the data out of such a file in place of those here",
    "bench": "measure speed on this machine",
    "doctor": "say what this machine has and what is missing",
    "test": "run the tests (--all: the slow ones too)",
    "check": "format, lint, types and the fast tests",
}


class Command(Protocol):
    """What a word's module offers."""

    __doc__: str | None

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options of this word."""

    def run(self, arguments: Namespace) -> int:
        """Do it, and return the exit status."""


def split_word(arguments: list[str]) -> tuple[str, list[str]]:
    """The word and what follows it; options without a word are for the page.

    Raises: ConfigError if there is no such word.
    """
    if not arguments or arguments[0].startswith("-"):
        return "app", arguments
    word = arguments[0]
    if word not in COMMANDS:
        nearest = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f'Did you mean "{nearest[0]}"? ' if nearest else ""
        raise ConfigError(f'There is no word "{word}".', f"{hint}`{PROGRAM} --help` lists them.")
    return word, arguments[1:]


def overview() -> str:
    """What `--help` shows: the words, one a line."""
    width = max(map(len, COMMANDS))
    words = "\n".join(f"  {word:{width}}  {text}" for word, text in COMMANDS.items())
    return (
        f"Usage: {PROGRAM} [--torch auto|cpu|cuda] [WORD …]\n\n{words}\n\n"
        f"`{PROGRAM} WORD --help` tells the options of a word.\n"
        "--torch chooses which build of torch is installed; auto, the default, looks for a graphics card.\n"
    )
