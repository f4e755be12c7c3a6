"""A program that indexes a folder, changes it, indexes again, and says what is acknowledged.

The tests that let a system call fail, or end the program there, run this in a fork.
"""

import os
import shutil
import sys
from pathlib import Path

from rag import KnowledgeBase
from rag.indexing import FileResult, Indexer
from tests.rag.conftest import HashEmbedder

CHECKPOINT_PAGES = 24  # a small library would fill no log of the usual 1,000
BEFORE_NS, AFTER_NS = 1_700_000_000_000_000_000, 1_700_000_100_000_000_000
FIRST = {
    "a.txt": "The zebra eats grass.\n\nIt runs at dawn.",
    "b.md": "# The otter\n\nAn otter swims in the river.\n\n## Its food\n\nFish, and now and then a frog.",
    "c.html": "<h1>熊猫</h1><p>大熊猫住在四川的竹林里。它每天吃很多竹子。</p>",
    "d.csv": "animal,weight\nbison,900\nheron,2\n",
    "e.txt": "\n\n".join(f"Paragraph {i} of the long one, on the habits of animal {i}. " * 9 for i in range(12)),
    "f.pdf": "This is no document at all.",
}
BROKEN = "f.pdf"
# Changed, renamed, copied, removed, and broken otherwise.
SECOND = {
    "a.txt": "The zebra sleeps.\n\nIt ran at dawn.",
    "river.md": FIRST["b.md"],
    "c.html": FIRST["c.html"],
    "copy.html": FIRST["c.html"],
    "e.txt": FIRST["e.txt"] + "\n\nA last paragraph on whales.",
    "f.pdf": "%PDF-1.4\nstill none",
}


def write_files(folder: Path, texts: dict[str, str]) -> None:
    """Let a folder hold these files alone, each with the time of its text, whatever the folder held before."""
    folder.mkdir(exist_ok=True)
    for gone in {path.name for path in folder.iterdir()} - texts.keys():
        (folder / gone).unlink()
    for name, text in texts.items():
        mtime_ns = BEFORE_NS if FIRST.get(name) == text else AFTER_NS
        (folder / name).write_text(text, encoding="utf-8")
        os.utime(folder / name, ns=(mtime_ns, mtime_ns))


def follow(kb: KnowledgeBase, folder: Path) -> None:
    """Let the library hold what the folder does."""
    kb.watch(folder)
    kb.rescan()


def say(what: str, name: str) -> None:
    sys.stdout.write(f"{what} {name}\n")
    sys.stdout.flush()


def main(library: Path, files: Path, second: Path) -> None:
    """Raises AssistantError where the disk does not take it."""
    commit = Indexer._commit

    def told(self: Indexer, read: object) -> FileResult:
        result = commit(self, read)  # type: ignore[arg-type]
        say(result.outcome, result.path.name)
        return result

    Indexer._commit = told  # type: ignore[method-assign,assignment]
    with KnowledgeBase(library, HashEmbedder()) as kb:
        with kb._store.database.write() as connection:
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        follow(kb, files)
        say("followed", "first")
        shutil.rmtree(files)
        second.rename(files)
        follow(kb, files)
        say("followed", "second")
