"""A file's schema and transactions: whole or not at all, in order, and by one writer."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from core.database import Database, Schema
from core.errors import BusyError, DataError

FIRST, SECOND = "CREATE TABLE notes (text TEXT)", "ALTER TABLE notes ADD COLUMN time REAL"


def schema(*migrations: str) -> Schema:
    return Schema("notebook", migrations, "Close the other program.", "Restore it.")


def rows(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return connection.execute("SELECT * FROM notes").fetchall()


def test_an_error_in_a_transaction_undoes_all_of_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "notes.db", schema(FIRST))
    with database.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('kept')")
    with suppress(ValueError), database.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('lost')")
        raise ValueError("something went wrong")
    assert rows(database) == [("kept",)]
    database.close()


def test_an_old_file_gets_the_newer_schema_and_keeps_its_rows(tmp_path: Path) -> None:
    old = Database(tmp_path / "notes.db", schema(FIRST))
    with old.write() as connection:
        connection.execute("INSERT INTO notes VALUES ('old')")
    old.close()
    new = Database(tmp_path / "notes.db", schema(FIRST, SECOND))
    assert rows(new) == [("old", None)]
    new.close()
    with pytest.raises(DataError, match="has format 2; this program knows 1 at most"):
        Database(tmp_path / "notes.db", schema(FIRST))


def test_a_commit_is_flushed_and_one_program_writes(tmp_path: Path) -> None:
    database = Database(tmp_path / "notes.db", schema(FIRST))
    with database.write() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other = Database(tmp_path / "notes.db", schema(FIRST))
    with pytest.raises(BusyError, match="Another program is writing to the notebook"), other.write():
        pass
    with database.read() as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO notes VALUES ('x')")
    database.close()
    other.close()
