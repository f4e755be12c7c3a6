"""A library whose program ends, or whose disk fails, at any system call that writes.

strace counts the calls of an undisturbed run that touch the library, then ends the program before one of them, or lets
one fail. What was acknowledged is there, nothing is mixed, and adding the files again ends where an undisturbed run
does. A few dozen calls, spread over all of them, are tried unless ASTRAI_FAULT_POINTS says how many ("all").
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag import KnowledgeBase
from rag.rows import DocumentRow
from rag.schema import FILE, LOCK
from rag.store_reader import passage
from rag.vector_index import FILE as CACHE
from rag.vector_index import VectorIndex
from tests.conftest import ROOT
from tests.rag.conftest import HashEmbedder
from tests.rag.indexing_program import AFTER_NS, BEFORE_NS, BROKEN, FIRST, SECOND, follow, write_files

# strace follows the thread that commits, and not those that read, whose number of calls varies.
CALLS = "write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,ftruncate"
STAYS_FULL = ("pwrite64", "fsync", "fdatasync", "ftruncate")  # only the library's files see these
NUM_POINTS = 8
REFUSED = 3

State = dict[str, Any]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)"),
]


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`-th call of this name, from 1, and the file it touches."""

    call: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number} of {self.file}"


class Ground:
    """Makes folders in which the program can run, and knows what every content must be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.contents: dict[tuple[str, str], State] = {}
        with KnowledgeBase(folder / "reference", HashEmbedder()) as kb:
            for texts, mtime_ns in ((FIRST, BEFORE_NS), (SECOND, AFTER_NS)):
                write_files(folder / "files", texts, mtime_ns)
                follow(kb, folder / "files")
                self.contents |= contents(kb)
            self.end = documents(kb)

    def run(self, name: str, *injected: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        """Run the program in a new folder with system calls tampered with; its trace is `trace` there."""
        place = self.folder / name
        place.mkdir()
        write_files(place / "files", FIRST, BEFORE_NS)
        write_files(place / "second", FIRST, BEFORE_NS)
        write_files(place / "second", SECOND, AFTER_NS)
        tracing = ["strace", "-y", "-o", str(place / "trace"), "-e", f"trace={CALLS}"]
        tampering = [part for each in injected for part in ("-e", f"inject={each}")]
        program = [sys.executable, "-B", "-m", "tests.rag.indexing_program"]
        command = [*tracing, *tampering, *program, *(str(place / part) for part in ("library", "files", "second"))]
        return place, subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=100)

    def points(self) -> list[Point]:
        """All calls of an undisturbed run that touch the library."""
        place, result = self.run("undisturbed")
        assert result.returncode == 0, result.stderr
        counts: Counter[str] = Counter()
        found: list[Point] = []
        for line in (place / "trace").read_text(encoding="utf-8").splitlines():
            call = line.partition("(")[0]
            counts[call] += 1
            if touched := re.search(rf"{re.escape(str(place))}/library(?:/([^\"<>]*))?[\">]", line):
                found.append(Point(call, counts[call], touched[1] or "the folder"))
        return found

    def check(self, place: Path, said: str) -> None:
        """What was acknowledged is there, nothing is mixed, and adding again ends where an undisturbed run does."""
        lines = [line.split() for line in said.splitlines()]
        is_second = ["followed", "first"] in lines
        split = lines.index(["followed", "first"]) if is_second else len(lines)
        with KnowledgeBase(place / "library", HashEmbedder()) as kb:
            here = {document.path.name: document for document in kb.documents()}
            for document in here.values():
                assert version(document) in versions(document.path.name, FIRST, SECOND)
            for _, name in lines[:split]:
                if not (is_second and name not in SECOND):
                    assert version(here[name]) in versions(name, FIRST, *([SECOND] if is_second else []))
            for outcome, name in lines[split + 1 :]:
                assert outcome == "followed" or version(here[name]) in versions(name, SECOND)
            for key, found in contents(kb).items():
                assert found == self.contents[key]
            check_parts(kb)
            write_files(place / "files", SECOND, AFTER_NS)
            follow(kb, place / "files")
            assert documents(kb) == self.end
            assert kb._store.pending() == []
            assert {document.content_id for document in kb.documents()} - {None} == {*content_ids(kb)}
            check_parts(kb)
        assert {path.name for path in (place / "library").iterdir()} <= {FILE, LOCK, CACHE}
        shutil.rmtree(place)


def version(document: DocumentRow) -> tuple[str, int]:
    """Which bytes a document is of; a file that could not be read has no hash."""
    return document.sha256, document.size_bytes


def versions(name: str, *states: dict[str, str]) -> set[tuple[str, int]]:
    """The versions of a file in these states of the folder."""
    found = [texts[name].encode() for texts in states if name in texts]
    return {("" if name == BROKEN else hashlib.sha256(raw).hexdigest(), len(raw)) for raw in found}


def content_ids(kb: KnowledgeBase) -> list[int]:
    with kb._store.database.read() as connection:
        return [id_ for (id_,) in connection.execute("SELECT id FROM contents")]


def contents(kb: KnowledgeBase) -> dict[tuple[str, str], State]:
    """What the library knows of each content: its text, passages, terms and vectors."""
    with kb._store.database.read() as connection:
        rows = connection.execute("SELECT id, sha256, suffix, kind, title, notes, pages FROM contents").fetchall()
    found = {}
    for id_, sha256, suffix, *rest in rows:
        text = kb._store.text(id_)
        with kb._store.database.read() as connection:
            chunks = connection.execute(
                """SELECT k.start, k.end, k.page, k.headings, k.text, t.terms, v.vector FROM chunks k
                LEFT JOIN chunk_terms t ON t.rowid = k.id LEFT JOIN vectors v ON v.chunk_id = k.id
                WHERE k.content_id = ? ORDER BY k.id""",
                (id_,),
            ).fetchall()
        assert all(row[4] == text[row[0] : row[1]] for row in chunks)
        found[sha256, suffix] = {"text": text, "chunks": chunks, "rest": rest}
    return found


def documents(kb: KnowledgeBase) -> State:
    """What the library knows of each file, without the numbers that it gives them."""
    known = contents(kb)
    return {
        row.path.name: (row.collection, row.sha256, row.mtime_ns, row.error, known.get((row.sha256, row.path.suffix)))
        for row in kb.documents()
    }


def check_parts(kb: KnowledgeBase) -> None:
    """Every part of the database agrees with the others, and the cache of the vectors with the database."""
    with kb._store.database.write() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("chunk_terms", "name_terms"):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        ids = {table: [row[0] for row in connection.execute(f"SELECT {column} FROM {table} ORDER BY 1")]
               for table, column in (("chunks", "id"), ("vectors", "chunk_id"), ("chunk_terms", "rowid"),
                                     ("documents", "id"), ("name_terms", "rowid"))}  # fmt: skip
    assert ids["chunks"] == ids["vectors"] == ids["chunk_terms"]
    assert ids["documents"] == ids["name_terms"]
    index = VectorIndex(kb._store, kb.folder, "hash-1")
    index.sync()
    assert len(index) == len(ids["chunks"])
    for chunk in kb._store.chunks(ids["chunks"]).values():
        vector = kb.embedder.encode_passages([passage(chunk.headings, chunk.text)])[0]
        np.testing.assert_allclose(index.similarities(vector, [chunk.id]), 1.0, atol=2e-3)


def spread(points: Sequence[Any]) -> list[Any]:
    """Some of the points, evenly over all of them, or as many as are wanted."""
    wanted = os.environ.get("ASTRAI_FAULT_POINTS", str(NUM_POINTS))
    count = len(points) if wanted == "all" else min(int(wanted), len(points))
    return [points[i] for i in np.linspace(0, len(points) - 1, count).round().astype(int).tolist()]


def of_each_kind(points: Sequence[Point]) -> list[Point]:
    """The first call of each kind on each kind of file, and some of the rest."""
    first = {(point.call, re.sub(r"\.[0-9a-zA-Z]+(?=\.tmp$)|tmp\w+$", "", point.file)): point for point in points[::-1]}
    return sorted({*first.values(), *spread(points)}, key=points.index)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def points(ground: Ground) -> list[Point]:
    return ground.points()


def test_death_before_any_call_loses_nothing_and_mixes_nothing(ground: Ground, points: list[Point]) -> None:
    tried = of_each_kind(points)
    for i, point in enumerate(tried):
        place, result = ground.run(f"killed-{i}", f"{point.call}:signal=KILL:when={point.number}")
        assert result.returncode == -9, f"{point}: {result.returncode} {result.stderr}"
        ground.check(place, result.stdout)
    calls = dict(Counter(point.call for point in points))
    sys.stdout.write(f"{len(points)} calls {calls}; {len(tried)} kills, each mended\n")


def test_a_failing_disk_is_one_sentence_and_leaves_the_library_whole(ground: Ground, points: list[Point]) -> None:
    cases = [
        (point, error, stays)
        for point in of_each_kind(points)
        for error in ("EIO", "ENOSPC")
        for stays in ("", "+")
        if not stays or point.call in STAYS_FULL
    ]
    told: Counter[str] = Counter()
    for i, (point, error, stays) in enumerate(tried := spread(cases)):
        place, result = ground.run(f"failed-{i}", f"{point.call}:error={error}:when={point.number}{stays}")
        sentence = result.stderr.strip()
        assert (result.returncode, len(sentence.splitlines())) in {(0, 0), (REFUSED, 1)}, f"{point} {error}: {sentence}"
        told[re.sub(r"^.*(?=: )|\d+", "", sentence) or "nothing, as it did not matter"] += 1
        ground.check(place, result.stdout)
    sys.stdout.write(f"{len(tried)} of {len(cases)} failing calls, said: {dict(told)}\n")
