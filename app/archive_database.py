"""Databases of an archive: that each is what this program would have made, and knows where its files lie now."""

import sqlite3
from pathlib import Path

from core.database import Schema

_SHADOWS = ("_data", "_idx", "_content", "_docsize", "_config")  # the tables in which FTS5 keeps a search


def check_database(path: Path, schema: Schema) -> None:
    """Raises: ValueError for a file with other tables, triggers or views than its version has, or a damaged one."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not 1 <= version <= schema.version:
            raise ValueError(f"format {version}, this program knows 1 to {schema.version}")
        if _tables(connection) != _tables_of(schema, version):
            raise ValueError("other tables than this program makes")
        if connection.execute("PRAGMA quick_check").fetchall() != [("ok",)]:
            raise ValueError("it is damaged")
        if connection.execute("PRAGMA foreign_key_check").fetchone():
            raise ValueError("rows are missing")
    finally:
        connection.close()


def move_documents(path: Path, before: str, now: str) -> None:
    """Let a library know its copies of dropped files where they will lie."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(
                "UPDATE documents SET path = ? || substr(path, ?) WHERE substr(path, 1, ?) = ?",
                (now, len(before) + 1, len(before), before),
            )
    finally:
        connection.close()


def _tables_of(schema: Schema, version: int) -> set[tuple[str, str, str]]:
    """What a file of a version holds, made anew."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for script in schema.migrations[:version]:
            connection.executescript(script)
        return _tables(connection)
    finally:
        connection.close()


def _tables(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
    """Kind, name and statement of everything in a schema; how FTS5 spells its own is its own affair."""
    rows = connection.execute("SELECT type, name, coalesce(sql, '') FROM sqlite_master").fetchall()
    return {(kind, name, "" if name.endswith(_SHADOWS) else " ".join(sql.split())) for kind, name, sql in rows}
