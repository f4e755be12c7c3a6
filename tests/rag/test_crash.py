"""A library whose program dies at any moment: what was acknowledged is there, and nothing is mixed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rag import KnowledgeBase
from rag.vector_index import VectorIndex
from tests.figures import Figure
from tests.rag.conftest import HashEmbedder

NUM_FILES = 6
NUM_KILLS, SEED = 12, 1

# Dies before the n-th statement of the writer; says which file was acknowledged when its transaction had ended.
PROGRAM = """
import os, sys
from pathlib import Path
from rag.indexing import Indexer
from rag import KnowledgeBase
from tests.rag.conftest import HashEmbedder

library, files, fatal = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
kb = KnowledgeBase(library, HashEmbedder())
count = 0
def before(statement):
    global count
    count += 1
    if count == fatal:
        os._exit(9)
writer = kb._store.database
with writer.write() as connection:
    connection.set_trace_callback(before)
commit = Indexer._commit
def told(self, read):
    result = commit(self, read)
    print(result.outcome, result.path.name, flush=True)
    return result
Indexer._commit = told
for path in sorted(files.iterdir()):
    kb.add([path])
for document in kb.documents()[:2]:
    print('removing', document.path.name, flush=True)
    kb.remove([document.id])
    print("removed", document.path.name, flush=True)
kb.move([kb.documents()[0].id], "other")
print("statements", count, flush=True)
kb.close()
"""


def run(library: Path, files: Path, fatal: int) -> tuple[int, list[list[str]]]:
    command = [sys.executable, "-c", PROGRAM, *map(str, (library, files, fatal))]
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert result.returncode in {0, 9}, result.stderr
    return result.returncode, [line.split() for line in result.stdout.splitlines()]


def make_files(folder: Path) -> None:
    folder.mkdir()
    for i in range(NUM_FILES):
        (folder / f"{i}.txt").write_text(f"Word{i}a word{i}b.\n\nCommon words of all, number {i}.", encoding="utf-8")


def check(library: Path, said: list[list[str]]) -> None:
    """Everything acknowledged is there, every part of the database agrees with the others, and each text is its own."""
    with KnowledgeBase(library, HashEmbedder()) as kb:
        here = {document.path.name: document for document in kb.documents()}
        removed = {name for word, name in said if word == "removed"}
        may_be_gone = {name for word, name in said if word == "removing"}
        assert {name for word, name in said if word == "added"} - may_be_gone <= set(here)
        assert not removed & set(here)
        index = VectorIndex(kb._store, library, "hash-1")
        index.sync()
        with kb._store.database.read() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            ids = {table: {row[0] for row in connection.execute(f"SELECT {column} FROM {table}")} for table, column in
                   (("chunks", "id"), ("vectors", "chunk_id"), ("chunk_terms", "rowid"))}  # fmt: skip
        assert ids["chunks"] == ids["vectors"] == ids["chunk_terms"]
        assert len(index) == len(ids["chunks"])
        for name in here:
            number = name.removesuffix(".txt")
            hit = kb.search(f"word{number}a word{number}b", k=1)[0]
            assert (hit.path.name, hit.legs["dense"].rank) == (name, 1)
        kb.resume()
        assert kb._store.pending() == []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_death_before_any_statement_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    files = tmp_path / "files"
    make_files(files)
    _, said = run(tmp_path / "whole", files, 0)
    (statements,) = (int(count) for word, count in said if word == "statements")
    points = random.Random(0).sample(range(1, statements + 1), min(statements, 40))
    for fatal in points:
        library = tmp_path / f"library-{fatal}"
        code, said = run(library, files, fatal)
        assert code == 9
        check(library, said)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_kill_at_a_random_moment_loses_nothing_acknowledged(tmp_path: Path, figure: Figure) -> None:
    files = tmp_path / "files"
    make_files(files)
    draw = random.Random(SEED)
    root = Path(__file__).resolve().parents[2]
    for i in range(NUM_KILLS):
        library = tmp_path / f"library-{i}"
        command = [sys.executable, "-c", PROGRAM, str(library), str(files), "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            time.sleep(draw.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            said = first + process.stdout.read()
        check(library, [line.split() for line in said.splitlines() if len(line.split()) == 2])
    figure("G1 kills", NUM_KILLS, seed=SEED)
    figure("G1 lost", 0)
