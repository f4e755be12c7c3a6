"""`python -m app WORD …`: finds the word's command and runs it; errors become one sentence.

Only the module of the word that was typed is imported. Any exception that nobody foresaw is caught here,
its traceback goes to the log and never to the user.
"""

import argparse
import importlib
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from typing import cast

from app.commands import PROGRAM, Command, overview, split_word
from app.paths import log_file
from app.variables import set_defaults
from core.errors import AssistantError, SetupError

EXIT_FAILED = 1
EXIT_INTERNAL = 70  # EX_SOFTWARE of sysexits.h
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command line (None is this process's own); returns the exit status."""
    set_defaults()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(overview())
        return 0
    try:
        word, rest = split_word(arguments)
        log_to_file()
        return run_word(word, rest)
    except AssistantError as exc:
        sys.stderr.write(f"{exc}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; without this Python complains again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as exc:
        logging.getLogger("astrai").exception("%s failed", " ".join(arguments) or "app")
        sys.stderr.write(
            f"That was a fault of AstrAI, not yours ({type(exc).__name__}: {exc}). The details are in {log_file()}.\n"
        )
        return EXIT_INTERNAL


def run_word(word: str, arguments: list[str]) -> int:
    """Import the module of a word, parse its options and run it."""
    command = cast(Command, importlib.import_module(f"app.commands.{word}"))
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {word}",
        description=command.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def log_to_file() -> None:
    """Send the log of this process to the data folder.

    Raises: SetupError if the folder cannot be written.
    """
    try:
        log_file().touch(mode=0o600)
        handler = RotatingFileHandler(log_file(), maxBytes=2**20, backupCount=3, encoding="utf-8", delay=True)
    except OSError as exc:
        raise SetupError(
            f"The data folder cannot be used: {exc}.", "Set ASTRAI_HOME to a folder that you may write to."
        ) from exc
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    raise SystemExit(main())
