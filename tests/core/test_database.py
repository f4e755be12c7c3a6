"""A file's schema, transactions and copies: whole or not at all, in order, and by one writer."""

import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from core.database import Database, MemoryDatabase, Schema
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


STEPS = (FIRST, SECOND, "CREATE TABLE other (x)")


def copied(*steps: str) -> Schema:
    """Of a file that is copied daily."""
    return Schema("notebook", steps, "Close the other program.", "Restore it.", num_backups=3)


def note(database: Database | MemoryDatabase, text: str) -> None:
    with database.write() as connection:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))


def notes(database: Database | MemoryDatabase) -> list[str]:
    with database.read() as connection:
        return [text for (text,) in connection.execute("SELECT text FROM notes")]


def test_an_older_format_is_copied_before_it_is_brought_to_this_one(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    first = Database(path, copied(STEPS[0]))
    note(first, "kept")
    first.close()
    later = Database(path, copied(*STEPS))
    assert notes(later) == ["kept"]
    later.close()
    copy = sqlite3.connect(tmp_path / "backups" / "notes-format-1.db")
    assert copy.execute("SELECT * FROM notes").fetchall() == [("kept",)]
    assert copy.execute("PRAGMA user_version").fetchone() == (1,)
    copy.close()


def test_a_step_that_fails_leaves_the_format_before(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    first = Database(path, copied(STEPS[0]))
    note(first, "kept")
    first.close()
    with pytest.raises(Exception, match="no such table"):
        Database(path, copied(STEPS[0], f"{STEPS[1]}; INSERT INTO missing VALUES (1)"))
    again = Database(path, copied(STEPS[0]))
    assert notes(again) == ["kept"]
    again.close()


def test_a_copy_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    Database(tmp_path / "notes.db", copied(*STEPS)).close()
    (tmp_path / "backups").write_text("in the way", encoding="utf-8")
    database = Database(tmp_path / "notes.db", copied(*STEPS))
    note(database, "kept")
    assert notes(database) == ["kept"]
    database.close()


def test_what_is_in_memory_is_undone_by_an_error_and_never_a_file(tmp_path: Path) -> None:
    database = MemoryDatabase(copied(*STEPS))
    note(database, "kept")
    with pytest.raises(DataError), database.write() as connection:
        raise DataError(str(connection.execute("DELETE FROM notes").rowcount), "")
    assert notes(database) == ["kept"]
    database.close()
