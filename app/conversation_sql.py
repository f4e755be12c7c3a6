"""The statements of the store of conversations, each on a connection that the store has open."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.conversation_rows import (
    MAX_FOLDER_CHARS,
    MAX_TITLE_CHARS,
    Changes,
    Conversation,
    Kind,
    Message,
    Said,
    State,
)
from app.conversation_terms import index_message, index_title, unindex
from app.preference_rows import Origin
from core.errors import DataError

TRASH_S = 7 * 86_400
CONVERSATION = """
    SELECT id, title, created, updated, pinned, folder, persona, collections, leaf, deleted FROM conversations
"""
_VERSIONS = "FROM messages v WHERE v.conversation_id = m.conversation_id AND v.parent_id IS m.parent_id"
MESSAGE = f"""
    SELECT m.id, m.parent_id, m.role, m.content, m.kind, m.origin, m.sources, m.details, m.state, m.created,
        (SELECT count(*) {_VERSIONS} AND v.id <= m.id), (SELECT count(*) {_VERSIONS})
    FROM messages m
"""
# A leaf, its conversation, and how many messages at most.
PATH = f"""
    WITH RECURSIVE above (id, parent_id, depth) AS (
        SELECT id, parent_id, 1 FROM messages WHERE id = ? AND conversation_id = ?
        UNION ALL
        SELECT p.id, p.parent_id, depth + 1 FROM messages p JOIN above ON p.id = above.parent_id WHERE depth < ?
    )
    {MESSAGE} JOIN above ON above.id = m.id ORDER BY above.depth DESC
"""
NEWEST_BELOW = """
    WITH RECURSIVE below (id) AS (
        SELECT ? UNION ALL SELECT (SELECT max(m.id) FROM messages m WHERE m.parent_id = below.id) FROM below
        WHERE below.id IS NOT NULL
    )
    SELECT max(id) FROM below
"""


def conversation_of(row: Sequence[Any]) -> Conversation:
    """The conversation in a row of CONVERSATION."""
    id_, title, created, updated, pinned, folder, persona, collections, leaf, deleted = row
    return Conversation(
        id=id_,
        title=title,
        created=created,
        updated=updated,
        pinned=bool(pinned),
        folder=folder,
        persona=persona,
        collections=tuple(json.loads(collections)),
        leaf=leaf,
        deleted=deleted,
    )


def message_of(row: Sequence[Any]) -> Message:
    """The message in a row of MESSAGE."""
    id_, parent_id, role, content, kind, origin, sources, details, state, created, version, num_versions = row
    made_by = None if origin is None else Origin.from_dict(json.loads(origin))
    return Message(
        id=id_,
        parent_id=parent_id,
        role=role,
        said=Said(content, Kind(kind), made_by, sources, json.loads(details)),
        state=State(state),
        created=created,
        version=version,
        num_versions=num_versions,
    )


def values_of(said: Said) -> tuple[Any, ...]:
    """Content, kind, origin, sources and details, as they are stored."""
    origin = None if said.origin is None else json.dumps(asdict(said.origin), ensure_ascii=False)
    return storable(said.content), said.kind, origin, said.sources, json.dumps(dict(said.details), ensure_ascii=False)


def storable(text: str) -> str:
    """The text with "?" for lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def title(connection: sqlite3.Connection, conversation_id: str) -> str:
    """Raises: DataError if there is no such conversation, or it is in the trash."""
    row = connection.execute(
        "SELECT title FROM conversations WHERE id = ? AND deleted IS NULL", (conversation_id,)
    ).fetchone()
    if row is None:
        raise DataError("This conversation is not there any more.", "Open another one, or begin a new one.")
    return str(row[0])


def check_parent(connection: sqlite3.Connection, conversation_id: str, message_id: int | None) -> None:
    """Raises: DataError unless this is a message of the conversation, or None."""
    known = "SELECT 1 FROM messages WHERE id = ? AND conversation_id = ?"
    if message_id is not None and not connection.execute(known, (message_id, conversation_id)).fetchone():
        raise DataError(
            "There is no message {number}.", "It was deleted: look at the conversation again.", number=message_id
        )


def change(connection: sqlite3.Connection, conversation_id: str, changes: Changes) -> None:
    """Write the fields that are given, each on one line and no longer than makes sense."""
    values: dict[str, Any] = {}
    for name, limit in (("title", MAX_TITLE_CHARS), ("folder", MAX_FOLDER_CHARS), ("persona", MAX_TITLE_CHARS)):
        if name in changes:
            values[name] = " ".join(storable(str(changes[name])).split())[:limit]  # type: ignore[literal-required]
    if "pinned" in changes:
        values["pinned"] = int(changes["pinned"])
    if "collections" in changes:
        values["collections"] = json.dumps(list(changes["collections"]), ensure_ascii=False)
    for name, value in values.items():
        connection.execute(f"UPDATE conversations SET {name} = ? WHERE id = ?", (value, conversation_id))
    if "title" in values:
        (number,) = connection.execute("SELECT number FROM conversations WHERE id = ?", (conversation_id,)).fetchone()
        index_title(connection, number, values["title"])


def insert(
    connection: sqlite3.Connection, conversation_id: str, place: tuple[int | None, str, State, float], said: Said
) -> int:
    """Store a message; `place` is parent, role, state and time of its making. Its id."""
    cursor = connection.execute(
        """INSERT INTO messages (conversation_id, parent_id, role, state, created, content, kind, origin, sources,
        details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (conversation_id, *place, *values_of(said)),
    )
    assert cursor.lastrowid is not None
    if place[2] is not State.PARTIAL:
        index_message(connection, cursor.lastrowid, said)
    return cursor.lastrowid


def show(connection: sqlite3.Connection, conversation_id: str, leaf: int | None) -> None:
    """Let the shown path end with a message of this conversation."""
    connection.execute("UPDATE conversations SET leaf = ? WHERE id = ?", (leaf, conversation_id))


def touch(connection: sqlite3.Connection, conversation_id: str) -> None:
    """Let it be the conversation that was changed last."""
    connection.execute("UPDATE conversations SET updated = ? WHERE id = ?", (time.time(), conversation_id))


def forget(connection: sqlite3.Connection, condition: str, value: Any) -> None:
    """Delete conversations for good, with all that was said in them."""
    chosen = f"SELECT id FROM conversations WHERE {condition}"
    messages = connection.execute(f"SELECT id FROM messages WHERE conversation_id IN ({chosen})", (value,)).fetchall()
    unindex(connection, [id_ for (id_,) in messages])
    connection.execute(
        f"DELETE FROM title_terms WHERE rowid IN (SELECT number FROM conversations WHERE {condition})", (value,)
    )
    connection.execute(f"DELETE FROM conversations WHERE {condition}", (value,))


def mend(connection: sqlite3.Connection) -> None:
    """Mark answers whose program ended before they did, and empty what lies in the trash for a week."""
    unfinished = connection.execute(f"{MESSAGE} WHERE m.state = ?", (State.PARTIAL,)).fetchall()
    for message in map(message_of, unfinished):
        connection.execute("UPDATE messages SET state = ? WHERE id = ?", (State.INTERRUPTED, message.id))
        index_message(connection, message.id, message.said)
    forget(connection, "deleted < ?", time.time() - TRASH_S)
