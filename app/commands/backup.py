"""Write conversations, ratings, library and settings into one file. AstrAI may be running meanwhile.

python launch.py backup FILE.zip

Models and runs of the studio are not in it.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.zip", type=Path, help="the file to write; an older one is replaced")


def run(arguments: Namespace) -> int:
    from app.archive import back_up

    count = back_up(arguments.file.expanduser())
    print(f"{arguments.file} holds {count} files, {arguments.file.expanduser().stat().st_size:,} bytes.")
    return 0
