"""What the library knows, in SQLite: documents, their passages and vectors. Every change is one transaction.

A *document* is a file at a path in a collection. Its *content* is what its bytes say: documents with equal bytes share
one content, so that a renamed, moved or copied file keeps its passages and vectors. A content without documents goes.
"""

import json
import sqlite3
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path

from core.database import Database
from rag.documents import Chunk, ParsedDocument
from rag.remarks import Remark
from rag.rows import Change, Embedded, FileState, Vectors
from rag.schema import FILE, LIBRARY
from rag.store_reader import LACKING, MEANING_WEIGHT, StoreReader, in_parts
from rag.text import terms


class Store(StoreReader):
    """The documents of one library."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Database(folder / FILE, LIBRARY))

    def close(self) -> None:
        self.database.close()

    def put(
        self, file: FileState, collection: str, parsed: ParsedDocument, chunks: Sequence[Chunk], vectors: Embedded
    ) -> Change:
        """Add or replace a document with what its file says. A title that is only the file's name is not kept."""
        title = "" if parsed.title == file.path.stem else parsed.title
        notes = json.dumps([note.to_json() for note in parsed.notes])
        with self.database.write() as connection:
            content_id = connection.execute(
                "INSERT INTO contents (sha256, suffix, kind, title, notes, text, pages) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    *(file.sha256, file.path.suffix.lower(), parsed.kind, title, notes),
                    *(zlib.compress(parsed.text.encode()), json.dumps([astuple(page) for page in parsed.pages])),
                ),
            ).lastrowid
            assert content_id is not None
            added = [_insert_chunk(connection, content_id, chunk, parsed) for chunk in chunks]
            _insert_vectors(connection, vectors.embedder_name, added, vectors.vectors)
            removed = _link(connection, file, collection, content_id=content_id)
            return Change(_next_generation(connection), tuple(added), removed)

    def link(self, file: FileState, collection: str, content_id: int) -> Change:
        """Add or replace a document whose bytes are known already."""
        with self.database.write() as connection:
            removed = _link(connection, file, collection, content_id=content_id)
            return Change(_next_generation(connection), removed_ids=removed)

    def fail(self, file: FileState, collection: str, error: Remark) -> Change:
        """Record that a file cannot be read; what an older version of it said goes."""
        with self.database.write() as connection:
            removed = _link(connection, file, collection, error=error.to_json())
            return Change(_next_generation(connection), removed_ids=removed)

    def rename(self, document_id: int, file: FileState) -> Change:
        """Give a document a new path, size and time; its passages stay."""
        with self.database.write() as connection:
            connection.execute(
                "UPDATE documents SET path = ?, size_bytes = ?, mtime_ns = ? WHERE id = ?",
                (str(file.path), file.size_bytes, file.mtime_ns, document_id),
            )
            _name(connection, document_id, file.path)
            return Change(_next_generation(connection))

    def move(self, document_ids: Iterable[int], collection: str) -> Change:
        """Put documents into another collection; one that holds the same path already keeps its own."""
        with self.database.write() as connection:
            target = _collection_id(connection, collection)
            rows = [(target, document_id) for document_id in document_ids]
            connection.executemany("UPDATE OR IGNORE documents SET collection_id = ? WHERE id = ?", rows)
            return Change(_next_generation(connection))

    def remove(self, document_ids: Iterable[int]) -> Change:
        """Forget documents, and what only they said."""
        with self.database.write() as connection:
            contents = set[int]()
            for document_id in document_ids:
                row = connection.execute(
                    "DELETE FROM documents WHERE id = ? RETURNING content_id", (document_id,)
                ).fetchone()
                connection.execute("DELETE FROM name_terms WHERE rowid = ?", (document_id,))
                contents |= {row[0]} if row and row[0] is not None else set()
            return Change(_next_generation(connection), removed_ids=_drop_orphans(connection, contents))

    def add_vectors(self, embedder_name: str, chunk_ids: Sequence[int], vectors: Vectors) -> None:
        """Keep the vectors of another embedder; passages that went meanwhile are skipped."""
        with self.database.write() as connection:
            here = {id_ for (id_,) in in_parts(connection, "SELECT id FROM chunks WHERE id IN ({})", chunk_ids)}
            kept = [i for i, chunk_id in enumerate(chunk_ids) if chunk_id in here]
            _insert_vectors(connection, embedder_name, [chunk_ids[i] for i in kept], vectors[kept])
            _next_generation(connection)

    def activate(self, embedder_name: str) -> bool:
        """Let one embedder answer and drop the others' vectors; False while passages lack its vectors."""
        with self.database.write() as connection:
            if connection.execute(LACKING.format("1"), (embedder_name,)).fetchone():
                return False
            _set(connection, "embedder", embedder_name)
            others = "SELECT id FROM embedders WHERE name != ?"
            connection.execute(f"DELETE FROM vectors WHERE embedder_id IN ({others})", (embedder_name,))
            connection.execute("DELETE FROM embedders WHERE name != ?", (embedder_name,))
            _next_generation(connection)
            return True

    def set_meaning_weight(self, weight: float) -> None:
        with self.database.write() as connection:
            _set(connection, MEANING_WEIGHT, repr(weight))

    def add_collection(self, name: str) -> None:
        with self.database.write() as connection:
            _collection_id(connection, name)

    def drop_collection(self, name: str) -> bool:
        """Forget a collection without documents, and what it follows; False while it has some."""
        with self.database.write() as connection:
            (id_,) = connection.execute("SELECT id FROM collections WHERE name = ?", (name,)).fetchone() or (None,)
            if connection.execute("SELECT 1 FROM documents WHERE collection_id = ?", (id_,)).fetchone():
                return False
            for table in ("watched", "pending"):
                connection.execute(f"DELETE FROM {table} WHERE collection_id = ?", (id_,))
            connection.execute("DELETE FROM collections WHERE id = ?", (id_,))
            return True

    def watch(self, folder: Path, collection: str) -> None:
        self._note("watched", "folder", [folder], collection)

    def unwatch(self, folder: Path) -> None:
        with self.database.write() as connection:
            connection.execute("DELETE FROM watched WHERE folder = ?", (str(folder),))

    def begin(self, paths: Sequence[Path], collection: str) -> None:
        """Remember what is being added, so that it can go on after a crash."""
        self._note("pending", "path", paths, collection)

    def finish(self, paths: Sequence[Path]) -> None:
        with self.database.write() as connection:
            connection.executemany("DELETE FROM pending WHERE path = ?", [(str(path),) for path in paths])

    def _note(self, table: str, column: str, paths: Sequence[Path], collection: str) -> None:
        with self.database.write() as connection:
            rows = [(str(path), _collection_id(connection, collection)) for path in paths]
            connection.executemany(f"INSERT OR IGNORE INTO {table} ({column}, collection_id) VALUES (?, ?)", rows)


def _next_generation(connection: sqlite3.Connection) -> int:
    """Count a change of documents, passages or vectors."""
    sql = "UPDATE settings SET value = value + 1 WHERE name = 'generation' RETURNING value"
    return int(connection.execute(sql).fetchone()[0])


def _set(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def _collection_id(connection: sqlite3.Connection, name: str) -> int:
    connection.execute("INSERT OR IGNORE INTO collections (name) VALUES (?)", (name,))
    return int(connection.execute("SELECT id FROM collections WHERE name = ?", (name,)).fetchone()[0])


def _link(
    connection: sqlite3.Connection,
    file: FileState,
    collection: str,
    *,
    content_id: int | None = None,
    error: str = "",
) -> tuple[int, ...]:
    """Let the document at a path have a content or an error; the passages that went with the old content."""
    key = (str(file.path), _collection_id(connection, collection))
    old = connection.execute("SELECT content_id FROM documents WHERE path = ? AND collection_id = ?", key).fetchone()
    state = (file.size_bytes, file.mtime_ns, file.sha256, content_id, error)
    (document_id,) = connection.execute(
        """INSERT INTO documents (path, collection_id, size_bytes, mtime_ns, sha256, content_id, error)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (path, collection_id) DO UPDATE SET size_bytes = excluded.size_bytes, mtime_ns = excluded.mtime_ns,
            sha256 = excluded.sha256, content_id = excluded.content_id, error = excluded.error
        RETURNING id""",
        key + state,
    ).fetchone()
    _name(connection, document_id, file.path)
    return _drop_orphans(connection, {old[0]} if old and old[0] is not None else set())


def _name(connection: sqlite3.Connection, document_id: int, path: Path) -> None:
    """Let a document be found by its file's name."""
    connection.execute("DELETE FROM name_terms WHERE rowid = ?", (document_id,))
    connection.execute("INSERT INTO name_terms (rowid, terms) VALUES (?, ?)", (document_id, " ".join(terms(path.stem))))


def _insert_chunk(connection: sqlite3.Connection, content_id: int, chunk: Chunk, parsed: ParsedDocument) -> int:
    text = parsed.text[chunk.start : chunk.end]
    first = bisect_right(parsed.lines, chunk.start, key=lambda line: line.end)
    last = bisect_left(parsed.lines, chunk.end, key=lambda line: line.start)
    lines = [
        [line.start, line.end, line.page, *(round(side, 2) for side in astuple(line.box))]
        for line in parsed.lines[first:last]
    ]
    headings = json.dumps(chunk.headings, ensure_ascii=False)
    chunk_id = connection.execute(
        "INSERT INTO chunks (content_id, start, end, page, headings, text, lines) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (content_id, chunk.start, chunk.end, chunk.page, headings, text, json.dumps(lines)),
    ).lastrowid
    assert chunk_id is not None
    found = " ".join(terms("\n".join((*chunk.headings, text))))
    connection.execute("INSERT INTO chunk_terms (rowid, terms) VALUES (?, ?)", (chunk_id, found))
    return chunk_id


def _insert_vectors(
    connection: sqlite3.Connection, embedder_name: str, chunk_ids: Sequence[int], vectors: Vectors
) -> None:
    connection.execute("INSERT OR IGNORE INTO embedders (name) VALUES (?)", (embedder_name,))
    (embedder_id,) = connection.execute("SELECT id FROM embedders WHERE name = ?", (embedder_name,)).fetchone()
    rows = ((chunk_id, embedder_id, vector.tobytes()) for chunk_id, vector in zip(chunk_ids, vectors, strict=True))
    connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)


def _drop_orphans(connection: sqlite3.Connection, content_ids: Iterable[int]) -> tuple[int, ...]:
    """Drop those of the contents that no document has; the passages that went."""
    removed: list[int] = []
    for content_id in content_ids:
        if connection.execute("SELECT 1 FROM documents WHERE content_id = ?", (content_id,)).fetchone():
            continue
        connection.execute(
            "DELETE FROM chunk_terms WHERE rowid IN (SELECT id FROM chunks WHERE content_id = ?)", (content_id,)
        )
        removed += [id_ for (id_,) in connection.execute("SELECT id FROM chunks WHERE content_id = ?", (content_id,))]
        connection.execute("DELETE FROM contents WHERE id = ?", (content_id,))
    return tuple(removed)
