"""From a fresh clone to the running program: what `launch.py` does once it runs on a usable Python.

Standard library only. On an installed machine this compares one stamp and replaces the process, which
takes milliseconds; everything that installs is imported only when something is missing.
"""

import os
import sys
from pathlib import Path

from app.bootstrap.environment import Environment
from app.commands import overview, split_word
from app.variables import set_defaults
from core.errors import AssistantError, ConfigError

ROOT = Path(__file__).resolve().parents[2]
TORCH_CHOICES = ("auto", "cpu", "cuda")
TESTING_WORDS = ("check", "test")


def launch(arguments: list[str]) -> int:
    """Install what is missing, then become `python -m app WORD ...` inside .venv."""
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        sys.stdout.write(overview())
        return 0
    environment = Environment(root=ROOT)
    try:
        choice, arguments = take_torch_choice(arguments)
        word, _ = split_word(arguments)
        is_testing = word in TESTING_WORDS
        if choice or environment.missing(is_testing=is_testing, torch=None):
            from app.bootstrap.setup import set_up

            set_up(environment, is_testing=is_testing, choice=choice)
    except AssistantError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. The next start goes on from here.\n")
        return 130
    return start(environment, arguments)


def take_torch_choice(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Take a leading `--torch CHOICE` off the command line; None if there is none.

    Raises: ConfigError if the choice does not exist.
    """
    if not arguments or arguments[0].split("=")[0] != "--torch":
        return None, arguments
    inline = arguments[0].partition("=")[2]
    choice, rest = (inline, arguments[1:]) if inline else ("".join(arguments[1:2]), arguments[2:])
    if choice not in TORCH_CHOICES:
        raise ConfigError(f"--torch {choice} is not a build of torch.", f"Use one of {', '.join(TORCH_CHOICES)}.")
    return choice, rest


def start(environment: Environment, arguments: list[str]) -> int:
    """Replace this process by the program in .venv (on Windows: wait for it)."""
    set_defaults()
    paths = [str(environment.root), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # -P: a folder named app where the user happens to stand must not take the place of ours.
    command = [str(environment.python), "-P", "-m", "app", *arguments]
    if os.name == "posix":
        os.execv(command[0], command)
    import subprocess

    try:
        return subprocess.call(command)
    except KeyboardInterrupt:
        return 130
