"""Put what `backup` wrote in the place of the conversations, ratings, library and settings that are here.

python launch.py restore FILE.zip

Either all of it is restored or nothing. What was there before lies in the folder `replaced` of the data folder, until
the next restoring.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE.zip", type=Path, help="a file that `backup` wrote")


def run(arguments: Namespace) -> int:
    from app.archive import restore
    from core.folders import data_dir

    parts = restore(arguments.file.expanduser())
    print(f"Restored: {', '.join(parts)}. What was there before is in {data_dir() / 'replaced'}.")
    return 0
