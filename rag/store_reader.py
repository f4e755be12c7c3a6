"""Reading the library's database. Every method sees one commit, also while another thread or program writes."""

import json
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.database import Database
from rag.documents import Box, Line, Page
from rag.remarks import Remark
from rag.rows import ChunkRow, DocumentRow, Filter, Ids, Vectors, marks

IDS_AT_ONCE = 500  # of the variables that a statement may have

# Passages without a vector of the embedder named, of which {} is selected.
MEANING_WEIGHT = "meaning_weight"  # name of a setting
LACKING = """
    SELECT {} FROM chunks k WHERE NOT EXISTS (
        SELECT 1 FROM vectors v JOIN embedders e ON e.id = v.embedder_id WHERE v.chunk_id = k.id AND e.name = ?
    )
"""
_DOCUMENTS = """
    SELECT d.id, d.path, g.name, coalesce(c.kind, ''), coalesce(c.title, ''), d.error, coalesce(c.notes, '[]'),
        d.size_bytes, d.mtime_ns, d.sha256, d.content_id,
        (SELECT count(*) FROM chunks WHERE chunks.content_id = d.content_id)
    FROM documents d JOIN collections g ON g.id = d.collection_id LEFT JOIN contents c ON c.id = d.content_id
"""
_CHUNKS = """
    SELECT k.id, k.content_id, k.start, k.end, k.page, k.headings, k.text, k.lines, t.terms
    FROM chunks k JOIN chunk_terms t ON t.rowid = k.id
"""
_ALLOWED = """
    FROM documents d JOIN collections g ON g.id = d.collection_id JOIN contents c ON c.id = d.content_id
"""


class StoreReader:
    """The reading half of a store."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def document_at(self, path: Path, collection: str) -> DocumentRow | None:
        return next(iter(self._documents("WHERE d.path = ? AND g.name = ?", (str(path), collection))), None)

    def documents(self, collection: str | None = None) -> list[DocumentRow]:
        """All documents, or those of one collection, by path."""
        if collection is None:
            return self._documents("ORDER BY d.path", ())
        return self._documents("WHERE g.name = ? ORDER BY d.path", (collection,))

    def documents_with_hash(self, sha256: str) -> list[DocumentRow]:
        return self._documents("WHERE d.sha256 = ? ORDER BY d.id", (sha256,))

    def documents_of_contents(self, content_ids: Sequence[int], allowed: Filter) -> dict[int, list[DocumentRow]]:
        """The documents that have each content, of those allowed."""
        condition, values = allowed.where()
        found: dict[int, list[DocumentRow]] = {}
        where = f"WHERE d.content_id IN ({marks(content_ids)}) AND {condition} ORDER BY d.id"
        for document in self._documents(where, (*content_ids, *values)):
            assert document.content_id is not None
            found.setdefault(document.content_id, []).append(document)
        return found

    def document(self, document_id: int) -> DocumentRow | None:
        return next(iter(self._documents("WHERE d.id = ?", (document_id,))), None)

    def collections(self) -> dict[str, int]:
        """The collections by name, and how many documents each has."""
        with self.database.read() as connection:
            return dict(
                connection.execute(
                    """SELECT g.name, count(d.id) FROM collections g LEFT JOIN documents d ON d.collection_id = g.id
                    GROUP BY g.id ORDER BY g.name"""
                )
            )

    def text(self, content_id: int) -> str:
        """The text of a content, which the offsets of its passages count."""
        with self.database.read() as connection:
            (text,) = connection.execute("SELECT text FROM contents WHERE id = ?", (content_id,)).fetchone()
        return zlib.decompress(text).decode()

    def pages(self, content_id: int) -> list[Page]:
        """The pages of a content; none for a file that has no pages."""
        with self.database.read() as connection:
            (pages,) = connection.execute("SELECT pages FROM contents WHERE id = ?", (content_id,)).fetchone()
        return [Page(*page) for page in json.loads(pages)]

    def content_id(self, sha256: str, suffix: str) -> int | None:
        """The content of these bytes, read as a file with this suffix."""
        with self.database.read() as connection:
            row = connection.execute(
                "SELECT id FROM contents WHERE sha256 = ? AND suffix = ?", (sha256, suffix)
            ).fetchone()
        return int(row[0]) if row else None

    def chunks(self, chunk_ids: Sequence[int]) -> dict[int, ChunkRow]:
        """Passages by id; those that are gone are absent."""
        with self.database.read() as connection:
            rows = in_parts(connection, f"{_CHUNKS} WHERE k.id IN ({{}})", chunk_ids)
            return {row[0]: _chunk(row) for row in rows}

    def chunks_of(self, document_id: int) -> list[ChunkRow]:
        """The passages of a document, in order."""
        where = "JOIN documents d ON d.content_id = k.content_id WHERE d.id = ? ORDER BY k.id"
        with self.database.read() as connection:
            return [_chunk(row) for row in connection.execute(f"{_CHUNKS} {where}", (document_id,))]

    def sample_chunks(self, limit: int, allowed: Filter) -> list[ChunkRow]:
        """Some passages, spread over those that a search may find."""
        ids = self.allowed_chunk_ids(allowed)
        if not len(ids):
            return []
        chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(limit, len(ids))).astype(np.int64))]
        return list(self.chunks(chosen.tolist()).values())

    def num_chunks(self) -> int:
        with self.database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def allowed_chunk_ids(self, allowed: Filter) -> Ids:
        """The passages of the documents that a search may find, ascending."""
        condition, values = allowed.where()
        inner = f"SELECT d.content_id {_ALLOWED} WHERE {condition}"
        with self.database.read() as connection:
            rows = connection.execute(f"SELECT id FROM chunks WHERE content_id IN ({inner}) ORDER BY id", values)
            return np.fromiter((id_ for (id_,) in rows), dtype=np.int64)

    def document_frequency(self, term: str) -> int:
        """How many passages have a term."""
        with self.database.read() as connection:
            row = connection.execute("SELECT doc FROM chunk_vocabulary WHERE term = ?", (term,)).fetchone()
        return int(row[0]) if row else 0

    def keyword_search(self, query: str, limit: int, allowed: Filter) -> list[tuple[int, float]]:
        """Ids and BM25 scores of the passages that match an FTS5 query, best first."""
        condition, values = allowed.where()
        within = f"SELECT 1 {_ALLOWED} JOIN chunks k ON k.content_id = c.id WHERE k.id = t.rowid AND {condition}"
        only = f"AND EXISTS ({within})" if allowed else ""
        sql = f"SELECT t.rowid, -rank FROM chunk_terms t WHERE chunk_terms MATCH ? {only} ORDER BY rank LIMIT ?"
        with self.database.read() as connection:
            return connection.execute(sql, (query, *(values if allowed else ()), limit)).fetchall()

    def named(self, query: str) -> list[tuple[int, set[str]]]:
        """The contents of documents whose file name matches an FTS5 query, and the terms of the name."""
        sql = """SELECT d.content_id, n.terms FROM name_terms n JOIN documents d ON d.id = n.rowid
            WHERE name_terms MATCH ? AND d.content_id IS NOT NULL ORDER BY rank LIMIT 50"""
        with self.database.read() as connection:
            return [(content_id, set(names.split())) for content_id, names in connection.execute(sql, (query,))]

    def generation(self) -> int:
        """The number of transactions so far."""
        return int(self.setting("generation"))

    def setting(self, name: str, default: str = "") -> str:
        with self.database.read() as connection:
            return _setting(connection, name, default)

    def meaning_weight(self) -> float:
        """How many times as much as usual the vectors count."""
        return float(self.setting(MEANING_WEIGHT, "1"))

    def vector_ids(self, embedder_name: str) -> Ids:
        """The passages that have a vector of this embedder, ascending."""
        with self.database.read() as connection:
            rows = connection.execute(
                """SELECT v.chunk_id FROM vectors v JOIN embedders e ON e.id = v.embedder_id
                WHERE e.name = ? ORDER BY v.chunk_id""",
                (embedder_name,),
            )
            return np.fromiter((id_ for (id_,) in rows), dtype=np.int64)

    def vectors(self, embedder_name: str, chunk_ids: Ids) -> Vectors:
        """The vectors of passages, in the order of their ids, which are ascending and all there."""
        sql = """SELECT v.chunk_id, v.vector FROM vectors v JOIN embedders e ON e.id = v.embedder_id
            WHERE e.name = ? AND v.chunk_id IN ({}) ORDER BY v.chunk_id"""
        with self.database.read() as connection:
            blobs = [blob for _, blob in in_parts(connection, sql, chunk_ids.tolist(), embedder_name)]
        return np.frombuffer(b"".join(blobs), dtype=np.float16).reshape(len(chunk_ids), -1)

    def lacking(self, embedder_name: str, limit: int) -> list[tuple[int, str]]:
        """Some passages that have no vector of an embedder: id, and headings and text."""
        with self.database.read() as connection:
            rows = connection.execute(
                f"{LACKING.format('k.id, k.headings, k.text')} ORDER BY k.id LIMIT ?", (embedder_name, limit)
            ).fetchall()
        return [(id_, passage(json.loads(headings), text)) for id_, headings, text in rows]

    def watched(self) -> list[tuple[Path, str]]:
        """The folders that are watched, and the collection of each."""
        return self._noted("watched", "folder")

    def pending(self) -> list[tuple[Path, str]]:
        """The files and folders whose adding did not end, and the collection of each."""
        return self._noted("pending", "path")

    def _noted(self, table: str, column: str) -> list[tuple[Path, str]]:
        sql = f"SELECT n.{column}, g.name FROM {table} n JOIN collections g ON g.id = n.collection_id ORDER BY 1, 2"
        with self.database.read() as connection:
            return [(Path(path), collection) for path, collection in connection.execute(sql)]

    def _documents(self, where: str, values: Sequence[Any]) -> list[DocumentRow]:
        with self.database.read() as connection:
            return [_document(row) for row in connection.execute(f"{_DOCUMENTS} {where}", values)]


def passage(headings: Sequence[str], text: str) -> str:
    """What is embedded of a passage: the titles above it, and its text."""
    return "\n".join((" > ".join(headings), text)) if headings else text


def in_parts(connection: sqlite3.Connection, sql: str, ids: Sequence[int], *values: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a statement with an `IN ({})`, over more ids than one statement takes."""
    for first in range(0, len(ids), IDS_AT_ONCE):
        part = ids[first : first + IDS_AT_ONCE]
        yield from connection.execute(sql.format(marks(part)), (*values, *part))


def _setting(connection: sqlite3.Connection, name: str, default: str) -> str:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else default


def _document(row: tuple[Any, ...]) -> DocumentRow:
    fields = [*row]
    path = fields[1] = Path(row[1])
    fields[4], fields[5] = row[4] or path.stem, _remark(row[5]) if row[5] else None
    fields[6] = tuple(map(_remark, json.loads(row[6])))
    return DocumentRow(*fields)


def _remark(text: str) -> Remark:
    """A remark; what another version of the program wrote is said as it stands."""
    try:
        return Remark.from_json(text)
    except ValueError:
        return Remark("said", {"text": text})


def _chunk(row: tuple[Any, ...]) -> ChunkRow:
    fields = [*row]
    fields[5] = tuple(json.loads(row[5])) if row[5] != "[]" else ()
    fields[7] = (
        ()
        if row[7] == "[]"
        else tuple(Line(start, end, page, Box(*sides)) for start, end, page, *sides in json.loads(row[7]))
    )
    return ChunkRow(*fields)
