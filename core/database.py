"""A SQLite file that is the truth about something: its connections, its schema's versions, and who may write.

One connection writes, under a lock of the operating system, so that a second program is refused with a sentence;
every other connection only reads and never moves the log into the file. SQLite before 3.51.3 can lose commits when two
connections do that at once (https://www.sqlite.org/wal.html#walresetbug).

What cannot be made again is copied once a day, and before its format changes, into a folder `backups` beside it.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import AssistantError, BusyError, DataError, SetupError
from core.files import make_folder, write_atomic

logger = logging.getLogger(__name__)
BUSY_TIMEOUT_S = 10
BACKUPS = "backups"
HOUR_S, DAY_S = 3600, 86_400


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file holds. A version of it is the number of `migrations` that were run, each a script of SQL.

    `name` is what people call it, as "library"; the remedies follow the errors that a user can meet. `num_backups` is
    how many daily copies are kept.
    """

    name: str
    migrations: Sequence[str]
    busy_remedy: str
    damaged_remedy: str
    check: Callable[[sqlite3.Connection], None] = lambda connection: None
    num_backups: int = 0

    @property
    def version(self) -> int:
        return len(self.migrations)

    def migrate(self, connection: sqlite3.Connection, version: int = 0) -> None:
        """Bring a file of `version` to this one, each step with its number in one transaction."""
        for number, script in enumerate(self.migrations[version:], version + 1):
            connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT;")


class Database:
    """The connections to one file. Whoever writes first holds the lock until `close`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """Raises as `write` and `read` do, and DataError for a file that a newer version of the program wrote."""
        self.path, self._schema = path, schema
        self._lock = FileLock(path.with_suffix(".lock"), timeout=0, mode=0o600, thread_local=False)
        self._writing = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._idle: list[sqlite3.Connection] = []
        self._backup_due = 0.0  # on the monotonic clock
        try:
            make_folder(path.parent)
        except OSError as exc:
            raise self._unusable(exc) from exc
        if not self._is_made():
            with self.write():
                pass

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which the disk holds when the block ends and which an error in the block undoes.

        Raises: BusyError if another program writes to this file; SetupError if the disk does not take it.
        """
        with self._writing, self._told():
            connection = self._writer or self._open_writer()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._back_up_daily(connection)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the last commit, one state for the whole block."""
        with self._told():
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
        """Whether this program holds the file's lock."""
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
        """Whether the file has this version's schema: less is there when a program ended while it made the file."""
        if not self.path.exists():
            return False
        try:
            with self.read() as connection:
                return self._version(connection) == self._schema.version
        except SetupError:  # such as a journal that only a writer may roll back
            return False

    def _open_writer(self) -> sqlite3.Connection:
        try:
            self._lock.acquire()
        except Timeout as exc:
            raise BusyError(
                "Another program is writing to the {what} in {folder}.",
                self._schema.busy_remedy,
                what=self._schema.name,
                folder=self.path.parent,
            ) from exc
        except OSError as exc:  # such as that no file descriptor is left
            raise self._unusable(exc) from exc
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        try:
            self._schema.check(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            self._lock.release()
            raise
        self._writer = connection
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        return _open_to_read(self.path)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the schema to this version; a file of an older one is copied before, where there are copies."""
        version = self._version(connection)
        if 0 < version < self._schema.version and self._schema.num_backups:
            _copy(connection, self._backup(f"format-{version}"))
        # A copy of a file that is new, and empty, is none.
        self._backup_due = time.monotonic() + (0 if version else HOUR_S)
        self._schema.migrate(connection, version)

    def _back_up_daily(self, connection: sqlite3.Connection) -> None:
        """Copy the file if today's copy is not there. What is being written does not fail for it."""
        if not self._schema.num_backups or time.monotonic() < self._backup_due:
            return
        self._backup_due = time.monotonic() + DAY_S
        today = self._backup(time.strftime("%Y-%m-%d", time.gmtime()))
        try:
            if not today.exists():
                _copy(connection, today)
            kept = sorted(today.parent.glob(f"{self.path.stem}-????-??-??{self.path.suffix}"))
            for old in kept[: -self._schema.num_backups]:
                old.unlink(missing_ok=True)
        except (OSError, sqlite3.Error, AssistantError):
            logger.exception("copying the %s", self._schema.name)

    def _backup(self, label: str) -> Path:
        return self.path.parent / BACKUPS / f"{self.path.stem}-{label}{self.path.suffix}"

    def _version(self, connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        known = self._schema.version
        if version > known:
            raise DataError(
                "The {what} {path} has format {version}; this program knows {known} at most.",
                "Open it with the newer version that wrote it.",
                what=self._schema.name,
                path=self.path,
                version=version,
                known=known,
            )
        return int(version)

    def _unusable(self, reason: Exception) -> SetupError:
        return SetupError(
            "The {what} {path} cannot be read or written: {reason}.",
            "Check the disk's free space and the permissions.",
            what=self._schema.name,
            path=self.path,
            reason=(isinstance(reason, OSError) and reason.strerror) or reason,
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise self._unusable(exc) from exc
        except sqlite3.DatabaseError as exc:
            raise DataError(
                "The {what} {path} is damaged: {reason}.",
                self._schema.damaged_remedy,
                what=self._schema.name,
                path=self.path,
                reason=exc,
            ) from exc


class MemoryDatabase:
    """What `Database` is, of a file that is never written: its content ends with the program."""

    def __init__(self, schema: Schema) -> None:
        self._using = threading.RLock()
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        schema.migrate(self._connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which an error in the block undoes."""
        with self._using:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees the last commit."""
        with self._using:
            yield self._connection

    def close(self) -> None:
        """Forget everything."""
        self._connection.close()


def copy_database(source: Path, target: Path) -> None:
    """Write the last commit of a file, which others may be writing to, as one private file. Raises: sqlite3.Error."""
    connection = _open_to_read(source)
    try:
        _copy(connection, target)
    finally:
        connection.close()


def _open_to_read(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection


def _copy(connection: sqlite3.Connection, path: Path) -> None:
    """Write what a connection sees as one private file, without a log beside it."""

    def write(temporary: Path) -> None:
        target = sqlite3.connect(temporary)
        try:
            connection.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()

    make_folder(path.parent, is_private=True)
    write_atomic(path, write, is_private=True)
