"""`python -m app WORD …`: finds the word's command and runs it; errors become one sentence."""

import argparse
import difflib
import importlib
import logging
import sys
from logging.handlers import RotatingFileHandler

from app.commands import COMMANDS
from app.paths import log_file
from core.errors import AssistantError

PROGRAM = "python launch.py"


def main(arguments: list[str]) -> int:
    """Run one word; returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        sys.stdout.write(_overview())
        return 0
    has_word = bool(arguments) and not arguments[0].startswith("-")
    word, rest = (arguments[0], arguments[1:]) if has_word else ("app", arguments)
    if word not in COMMANDS:
        near = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        sys.stderr.write(f'There is no word "{word}".{hint} `{PROGRAM} --help` lists them.\n')
        return 2
    _log_to_file()
    module = importlib.import_module(f"app.commands.{word}")
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {word}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    return _run(module.run, parser.parse_args(rest))


def _run(run: object, arguments: argparse.Namespace) -> int:
    assert callable(run)
    try:
        return int(run(arguments))
    except AssistantError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        return 0
    except Exception:
        logging.getLogger("astrai").exception("unexpected error")
        sys.stderr.write(f"Something unexpected went wrong. The details are in {log_file()}.\n")
        return 70


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {word:{width}}  {text}" for word, text in COMMANDS.items()]
    return (
        f"Usage: {PROGRAM} [--torch auto|cpu|cuda] [WORD …]\n\n"
        + "\n".join(lines)
        + f"\n\n`{PROGRAM} WORD --help` tells the options of a word.\n"
    )


def _log_to_file() -> None:
    handler = RotatingFileHandler(log_file(), maxBytes=2**20, backupCount=3, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
