"""The conversations of one user, in SQLite: trees of messages, of which each conversation shows one path.

Nothing that was said is overwritten: another answer to a question and another wording of a message are versions beside
the one before, each with what followed it. An answer is stored while it is written, and marked as interrupted where its
program ended first. A temporary conversation is the same in memory alone.
"""

import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from app import conversation_sql as sql
from app.conversation_rows import (
    TEMPORARY,
    Changes,
    Conversation,
    Found,
    Message,
    Said,
    State,
    is_temporary,
    title_of,
)
from app.conversation_schema import CONVERSATIONS, FILE
from app.conversation_terms import excerpt, index_message, matching, unindex
from core.database import Database, MemoryDatabase
from core.errors import BusyError, DataError
from core.files import make_folder

MAX_TEMPORARY = 20  # the newest ones
MAX_FOUND = 50
MAX_DEPTH = 2**31


class Conversations:
    """The conversations, their messages, and the search over both."""

    def __init__(self, folder: Path) -> None:
        """The file is opened when it is first asked for."""
        self._path, self._opening = folder / FILE, threading.Lock()
        self._opened: Database | None = None
        self._memory: MemoryDatabase | None = None

    def close(self) -> None:
        """Close the file, and forget temporary conversations."""
        with self._opening:
            if self._opened is not None:
                self._opened.close()
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    # Conversations

    def create(self, *, is_temporary: bool = False, **given: Unpack[Changes]) -> Conversation:
        """An empty conversation, its title to be taken from what is said first where none is given."""
        name = f"{TEMPORARY if is_temporary else ''}{secrets.token_hex(8)}"
        now = time.time()
        with self._of(name).write() as connection:
            connection.execute(
                "INSERT INTO conversations (id, title, created, updated) VALUES (?, '', ?, ?)", (name, now, now)
            )
            sql.change(connection, name, given)
            if is_temporary:
                sql.forget(connection, "number <= (SELECT max(number) FROM conversations) - ?", MAX_TEMPORARY)
        return self.get(name)

    def get(self, conversation_id: str) -> Conversation:
        """Raises: DataError if there is none, or it is in the trash."""
        found = self.find(conversation_id)
        if found is None:
            raise DataError("This conversation is not there any more.", "Open another one, or begin a new one.")
        return found

    def find(self, conversation_id: str) -> Conversation | None:
        """The conversation; None if there is none, or it is in the trash."""
        with self._of(conversation_id).read() as connection:
            row = connection.execute(
                f"{sql.CONVERSATION} WHERE id = ? AND deleted IS NULL", (conversation_id,)
            ).fetchone()
        return sql.conversation_of(row) if row else None

    def all(self) -> list[Conversation]:
        """All but temporary ones and the trash, the one that was changed last first."""
        with self._database.read() as connection:
            rows = connection.execute(f"{sql.CONVERSATION} WHERE deleted IS NULL ORDER BY updated DESC").fetchall()
        return [sql.conversation_of(row) for row in rows]

    def change(self, conversation_id: str, **changes: Unpack[Changes]) -> Conversation:
        """Rename, pin, move, or choose persona and collections. Raises: DataError as `get`."""
        with self._of(conversation_id).write() as connection:
            sql.change(connection, conversation_id, changes)
        return self.get(conversation_id)

    def delete(self, conversation_id: str) -> None:
        """Put it into the trash, out of which `undelete` takes it for a week; a temporary one is gone."""
        with self._of(conversation_id).write() as connection:
            if is_temporary(conversation_id):
                sql.forget(connection, "id = ?", conversation_id)
            else:
                connection.execute("UPDATE conversations SET deleted = ? WHERE id = ?", (time.time(), conversation_id))

    def undelete(self, conversation_id: str) -> Conversation:
        """Take it out of the trash. Raises: DataError if it is not there any more."""
        with self._of(conversation_id).write() as connection:
            connection.execute("UPDATE conversations SET deleted = NULL WHERE id = ?", (conversation_id,))
        return self.get(conversation_id)

    def search(self, text: str, limit: int = MAX_FOUND) -> list[Found]:
        """Conversations with all these words in the title or in one message, the last one perhaps unfinished."""
        pattern = matching(text)
        if not pattern:
            return []
        with self._database.read() as connection:
            titles = connection.execute(
                f"""{sql.CONVERSATION} JOIN title_terms t ON t.rowid = number
                WHERE deleted IS NULL AND t.terms MATCH ? ORDER BY updated DESC LIMIT ?""",
                (pattern, limit),
            ).fetchall()
            messages = connection.execute(
                """SELECT m.conversation_id, m.id, m.content FROM message_terms t JOIN messages m ON m.id = t.rowid
                JOIN conversations c ON c.id = m.conversation_id
                WHERE c.deleted IS NULL AND t.terms MATCH ? ORDER BY t.rank, m.id DESC LIMIT ?""",
                (pattern, 10 * limit),
            ).fetchall()
            found = {row[0]: Found(sql.conversation_of(row), None, "") for row in titles}
            for conversation_id, message_id, content in messages:
                if conversation_id not in found and len(found) < limit:
                    row = connection.execute(f"{sql.CONVERSATION} WHERE id = ?", (conversation_id,)).fetchone()
                    found[conversation_id] = Found(sql.conversation_of(row), message_id, excerpt(content, text))
        return list(found.values())

    # Messages

    def path(self, conversation_id: str, *, leaf: int | None = None, limit: int = -1) -> list[Message]:
        """The shown messages, or those down to `leaf`; of a `limit` the last ones. Raises: DataError as `get`."""
        end = self.get(conversation_id).leaf if leaf is None else leaf
        depth = limit if limit >= 0 else MAX_DEPTH
        with self._of(conversation_id).read() as connection:
            rows = connection.execute(sql.PATH, (end, conversation_id, depth)).fetchall() if limit else []
        return [sql.message_of(row) for row in rows]

    def message(self, conversation_id: str, message_id: int) -> Message:
        """One message. Raises: DataError if there is none."""
        with self._of(conversation_id).read() as connection:
            row = connection.execute(
                f"{sql.MESSAGE} WHERE m.id = ? AND m.conversation_id = ?", (message_id, conversation_id)
            ).fetchone()
        if row is None:
            raise DataError(
                "There is no message {number}.", "It was deleted: look at the conversation again.", number=message_id
            )
        return sql.message_of(row)

    def versions(self, conversation_id: str, message_id: int) -> list[Message]:
        """A message and those beside it, the oldest first. Raises: DataError if there is none."""
        parent = self.message(conversation_id, message_id).parent_id
        with self._of(conversation_id).read() as connection:
            rows = connection.execute(
                f"{sql.MESSAGE} WHERE m.conversation_id = ? AND m.parent_id IS ? ORDER BY m.id",
                (conversation_id, parent),
            ).fetchall()
        return [sql.message_of(row) for row in rows]

    def add(
        self,
        conversation_id: str,
        role: str,
        said: Said,
        *,
        parent_id: int | None,
        state: State = State.COMPLETE,
    ) -> int:
        """Store a message below another, None for a first one, and show the path to it; its id.

        A notice beside it, which nothing follows, makes room. Raises: DataError as `get`, or without that parent.
        """
        with self._of(conversation_id).write() as connection:
            title = sql.title(connection, conversation_id)
            sql.check_parent(connection, conversation_id, parent_id)
            connection.execute(
                """DELETE FROM messages AS m WHERE conversation_id = ? AND parent_id IS ? AND kind = 'notice'
                AND NOT EXISTS (SELECT 1 FROM messages f WHERE f.parent_id = m.id)""",
                (conversation_id, parent_id),
            )
            id_ = sql.insert(connection, conversation_id, (parent_id, role, state, time.time()), said)
            if role == "user" and not title:
                sql.change(connection, conversation_id, {"title": title_of(said.content)})
            sql.show(connection, conversation_id, id_)
            sql.touch(connection, conversation_id)
        return id_

    def save(self, conversation_id: str, message_id: int, said: Said, state: State = State.PARTIAL) -> None:
        """Store how an answer reads by now; the search finds it when it has ended. One that was deleted stays so."""
        with self._of(conversation_id).write() as connection:
            cursor = connection.execute(
                """UPDATE messages SET content = ?, kind = ?, origin = ?, sources = ?, details = ?, state = ?
                WHERE id = ? AND conversation_id = ?""",
                (*sql.values_of(said), state, message_id, conversation_id),
            )
            if cursor.rowcount and state is not State.PARTIAL:
                index_message(connection, message_id, said)
                sql.touch(connection, conversation_id)

    def remove(self, conversation_id: str, message_id: int) -> None:
        """Take out a message that nothing follows, such as an answer that was stopped before its first word."""
        with self._of(conversation_id).write() as connection:
            row = connection.execute(
                """DELETE FROM messages AS m WHERE id = ? AND conversation_id = ?
                AND NOT EXISTS (SELECT 1 FROM messages f WHERE f.parent_id = m.id) RETURNING parent_id""",
                (message_id, conversation_id),
            ).fetchone()
            if row is not None:
                unindex(connection, [message_id])
                connection.execute(
                    "UPDATE conversations SET leaf = ? WHERE id = ? AND leaf = ?", (row[0], conversation_id, message_id)
                )

    def show(self, conversation_id: str, message_id: int | None) -> None:
        """Let the shown path end with a message; with None it is empty. Raises: DataError if there is no such one."""
        with self._of(conversation_id).write() as connection:
            sql.check_parent(connection, conversation_id, message_id)
            sql.show(connection, conversation_id, message_id)

    def turn(self, conversation_id: str, message_id: int, by: int) -> None:
        """Show the version before or after one, round and round, with what was last said below it."""
        versions = [message.id for message in self.versions(conversation_id, message_id)]
        self.reveal(conversation_id, versions[(versions.index(message_id) + by) % len(versions)])

    def reveal(self, conversation_id: str, message_id: int) -> None:
        """Show the path through a message, if it is not on the shown one. Raises: DataError as `show`."""
        if any(message.id == message_id for message in self.path(conversation_id)):
            return
        with self._of(conversation_id).write() as connection:
            sql.check_parent(connection, conversation_id, message_id)
            (leaf,) = connection.execute(sql.NEWEST_BELOW, (message_id,)).fetchone()
            sql.show(connection, conversation_id, leaf)

    def insert(self, conversation: Conversation, rows: Iterable[tuple[int | None, Message]]) -> Conversation:
        """Take a conversation over from elsewhere, under a new id.

        `rows` are messages and the places of their parents among them, parents first; `leaf` is such a place too.
        Raises: DataError for a parent that does not come before.
        """
        name, ids = secrets.token_hex(8), list[int]()
        with self._database.write() as connection:
            connection.execute(
                "INSERT INTO conversations (id, title, created, updated) VALUES (?, '', ?, ?)",
                (name, conversation.created, conversation.updated),
            )
            for place, message in rows:
                if place is not None and not 0 <= place < len(ids):
                    raise DataError(
                        "Message {number} follows one that is not there.", "Export it again.", number=len(ids) + 1
                    )
                parent = None if place is None else ids[place]
                ids.append(
                    sql.insert(connection, name, (parent, message.role, message.state, message.created), message.said)
                )
            leaf = conversation.leaf
            sql.show(connection, name, ids[leaf] if leaf is not None and 0 <= leaf < len(ids) else None)
            changes = Changes(
                title=conversation.title,
                pinned=conversation.pinned,
                folder=conversation.folder,
                persona=conversation.persona,
                collections=conversation.collections,
            )
            sql.change(connection, name, changes)
        return self.get(name)

    def tree(self, conversation_id: str) -> list[Message]:
        """Every message, parents first."""
        with self._of(conversation_id).read() as connection:
            rows = connection.execute(f"{sql.MESSAGE} WHERE m.conversation_id = ? ORDER BY m.id", (conversation_id,))
            return [sql.message_of(row) for row in rows]

    def _of(self, conversation_id: str) -> Database | MemoryDatabase:
        if not is_temporary(conversation_id):
            return self._database
        with self._opening:
            if self._memory is None:
                self._memory = MemoryDatabase(CONVERSATIONS)
            return self._memory

    @property
    def _database(self) -> Database:
        with self._opening:
            if self._opened is None:
                make_folder(self._path.parent, is_private=True)
                self._opened = Database(self._path, CONVERSATIONS)
                # A program that is writing here already may be writing what is unfinished.
                with suppress(BusyError), self._opened.write() as connection:
                    sql.mend(connection)
            return self._opened
