"""The library's SQLite file: what it holds."""

import sqlite3

from core.database import Schema
from core.errors import SetupError

FILE, LOCK = "library.db", "library.lock"

# Terms come folded, with spaces between them: FTS5's tokenizer has only to split there.
MIGRATIONS = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO settings VALUES ('generation', '0'), ('library', lower(hex(randomblob(16))));
    CREATE TABLE collections (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE watched (
        folder TEXT NOT NULL,
        collection_id INTEGER NOT NULL REFERENCES collections,
        PRIMARY KEY (folder, collection_id)
    ) WITHOUT ROWID;
    CREATE TABLE pending (
        path TEXT NOT NULL,
        collection_id INTEGER NOT NULL REFERENCES collections,
        PRIMARY KEY (path, collection_id)
    ) WITHOUT ROWID;
    CREATE TABLE contents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 TEXT NOT NULL,
        suffix TEXT NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        notes TEXT NOT NULL,
        text BLOB NOT NULL,
        pages TEXT NOT NULL,
        UNIQUE (sha256, suffix)
    );
    CREATE TABLE documents (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        path TEXT NOT NULL,
        collection_id INTEGER NOT NULL REFERENCES collections,
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        content_id INTEGER REFERENCES contents,
        error TEXT NOT NULL DEFAULT '',
        UNIQUE (path, collection_id)
    );
    CREATE INDEX documents_by_content ON documents (content_id);
    CREATE INDEX documents_by_hash ON documents (sha256);
    CREATE TABLE chunks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        content_id INTEGER NOT NULL REFERENCES contents ON DELETE CASCADE,
        start INTEGER NOT NULL,
        end INTEGER NOT NULL,
        page INTEGER,
        headings TEXT NOT NULL,
        text TEXT NOT NULL,
        lines TEXT NOT NULL
    );
    CREATE INDEX chunks_by_content ON chunks (content_id);
    CREATE TABLE embedders (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE vectors (
        chunk_id INTEGER NOT NULL REFERENCES chunks ON DELETE CASCADE,
        embedder_id INTEGER NOT NULL REFERENCES embedders,
        vector BLOB NOT NULL,
        PRIMARY KEY (chunk_id, embedder_id)
    ) WITHOUT ROWID;
    CREATE VIRTUAL TABLE chunk_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
    CREATE VIRTUAL TABLE chunk_vocabulary USING fts5vocab (chunk_terms, row);
    CREATE VIRTUAL TABLE name_terms USING fts5 (terms, tokenize = 'unicode61 remove_diacritics 0');
    """,
)


def _check_fts5(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.check_fts5 USING fts5 (terms)")
        connection.execute("DROP TABLE temp.check_fts5")
    except sqlite3.OperationalError as exc:
        raise SetupError(
            "The SQLite {version} of this Python has no full-text search (FTS5).",
            "Install Python from python.org, conda or uv: theirs has it.",
            version=sqlite3.sqlite_version,
        ) from exc


LIBRARY = Schema(
    "library",
    MIGRATIONS,
    busy_remedy="Close it, or wait until it is done. Searching works meanwhile.",
    damaged_remedy="Move the folder away and add your files again: the library holds nothing that is not in them.",
    check=_check_fts5,
)
