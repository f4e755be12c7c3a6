"""A library whose program ends, or whose disk fails, at any system call that writes.

What was acknowledged is there, nothing is mixed, and adding the files again ends where an undisturbed run does. How the
calls are counted and tampered with is in `tests.faults.system_calls`.
"""

import hashlib
from collections.abc import Iterator
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
from tests.faults.system_calls import CALLS, FEW_AND_ALL, Ended, Ground, fail_at, kill_at, needs_strace, programs
from tests.figures import Figure
from tests.rag.conftest import HashEmbedder
from tests.rag.indexing_program import BROKEN, FIRST, SECOND, follow, write_files

State = dict[str, Any]

pytestmark = needs_strace


class Library:
    """Knows what every content must be, and whether what is left of a library is that."""

    def __init__(self, folder: Path) -> None:
        self.contents: dict[tuple[str, str], State] = {}
        with KnowledgeBase(folder / "reference", HashEmbedder()) as kb:
            for texts in (FIRST, SECOND):
                write_files(folder / "files", texts)
                follow(kb, folder / "files")
                self.contents |= contents(kb)
            self.end = documents(kb)

    def check(self, ended: Ended) -> None:
        """What was acknowledged is there, nothing is mixed, and adding again ends where an undisturbed run does."""
        lines, place = ended.said, ended.place
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
            write_files(place / "files", SECOND)
            follow(kb, place / "files")
            now = documents(kb)
            differing = {name: row[:4] for name, row in now.items() if row != self.end.get(name)}
            assert now == self.end, f"these differ or were not to be there: {differing}"
            assert kb._store.pending() == []
            assert {document.content_id for document in kb.documents()} - {None} == {*content_ids(kb)}
            check_parts(kb)
        assert {path.name for path in (place / "library").iterdir()} <= {FILE, LOCK, CACHE}


def prepare(place: Path) -> None:
    """The files that a run begins with."""
    write_files(place / "files", FIRST)
    write_files(place / "second", SECOND)


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


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return Library(tmp_path_factory.mktemp("reference"))


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("ground")
    calls = [call for call in CALLS if call not in ("mkdir", "rmdir", "unlinkat", "writev")]
    with programs() as opened:
        yield Ground(opened, "the library", folder, watched="library", prepare=prepare, calls=calls)


@FEW_AND_ALL
def test_death_before_any_call_loses_nothing_and_mixes_nothing(
    ground: Ground, expected: Library, figure: Figure, has_all: bool
) -> None:
    kill_at(ground, expected.check, figure, has_all=has_all)


@FEW_AND_ALL
def test_a_failing_disk_is_one_sentence_and_leaves_the_library_whole(
    ground: Ground, expected: Library, figure: Figure, has_all: bool
) -> None:
    fail_at(ground, expected.check, figure, has_all=has_all, is_in_turn=True)
