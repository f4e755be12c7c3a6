"""The library's SQLite file: its schema, its connections, and who may write.

One connection writes, under a lock of the operating system, so that a second program is refused with a sentence;
every other connection only reads and never moves the log into the file. SQLite before 3.51.3 can lose commits when two
connections do that at once (https://www.sqlite.org/wal.html#walresetbug).
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import BusyError, DataError, SetupError

FILE, LOCK = "library.db", "library.lock"
BUSY_TIMEOUT_S = 10

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


class Database:
    """The connections to one library. Whoever writes first holds the lock until `close`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._lock = FileLock(folder / LOCK, timeout=0, thread_local=False)
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        folder.mkdir(parents=True, exist_ok=True)
        if not self._is_made():
            with self.write():
                pass

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which the disk holds when the block ends and which an error in the block undoes.

        Raises: BusyError if another program writes to this library; SetupError if SQLite lacks FTS5.
        """
        with self._writing, _told(self.path):
            connection = self._writer or self._open_writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the last commit, one state for the whole block."""
        with _told(self.path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open_reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.rollback()
                self._idle.append(connection)

    @property
    def is_writer(self) -> bool:
        """Whether this program holds the library's lock."""
        return self._writer is not None

    def close(self) -> None:
        """Close every connection, and let others write."""
        with self._writing:
            while self._idle:
                self._idle.pop().close()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._lock.release()

    def _is_made(self) -> bool:
        """Whether the file has this version's schema: less is there when a program ended while it made the library."""
        if not self.path.exists():
            return False
        try:
            with self.read() as connection:
                return _check_version(connection, self.path) == len(MIGRATIONS)
        except SetupError:  # such as a journal that only a writer may roll back
            return False

    def _open_writer(self) -> sqlite3.Connection:
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise BusyError(
                f"Another program is writing to the library in {self.path.parent}.",
                "Close it, or wait until it is done. Searching works meanwhile.",
            ) from exc
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            _check_fts5(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            _migrate(connection, self.path)
        except BaseException:
            connection.close()
            self._lock.release()
            raise
        self._writer = connection
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        uri = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema to this version, each step with its number in one transaction."""
    version = _check_version(connection, path)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise DataError(
            f"The library {path} has format {version}; this program knows {len(MIGRATIONS)} at most.",
            "Open it with the newer version that wrote it.",
        )
    return int(version)


def _check_fts5(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("CREATE VIRTUAL TABLE temp.check_fts5 USING fts5 (terms)")
        connection.execute("DROP TABLE temp.check_fts5")
    except sqlite3.OperationalError as exc:
        raise SetupError(
            f"The SQLite {sqlite3.sqlite_version} of this Python has no full-text search (FTS5).",
            "Install Python from python.org, conda or uv: theirs has it.",
        ) from exc


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into sentences."""
    try:
        yield
    except sqlite3.OperationalError as exc:
        raise SetupError(
            f"The library {path} cannot be read or written: {exc}.", "Check the disk's free space and the permissions."
        ) from exc
    except sqlite3.DatabaseError as exc:
        raise DataError(
            f"The library {path} is damaged: {exc}.",
            "Move the folder away and add your files again: the library holds nothing that is not in them.",
        ) from exc
