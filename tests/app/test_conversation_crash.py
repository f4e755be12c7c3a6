"""A chat whose program ends, or whose disk fails, at any system call that writes: what was acknowledged is there.

Nothing is doubled, every part of the file agrees with the others, and an answer that was being written is marked.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.conversation_rows import Message, State
from app.conversations import Conversations
from core.errors import DataError
from tests.app.chatting_program import NUM_WORDS, text
from tests.faults.saving import SAVED
from tests.faults.system_calls import FEW_AND_ALL, Ended, Ground, fail_at, kill_at, needs_strace, programs
from tests.figures import Figure

pytestmark = needs_strace


def check(ended: Ended) -> None:
    """Every conversation, the trash among them, holds what was said of it last."""
    chats = Conversations(ended.place / SAVED)
    for what, name, *_ in ended.said:
        if what == "deleted":
            assert chats.find(name) is None
    for name in {words[1] for words in ended.said}:
        chats.undelete(name)
    last = {(words[1], int(words[2])): words for words in ended.said if len(words) == 4}
    for (name, id_), (what, _, _, num_words) in last.items():
        check_message(chats.message(name, id_), int(num_words), is_complete=what == "complete")
    for what, name, *rest in ended.said:
        assert what != "titled" or chats.get(name).title == f"title {rest[0]}"
    for conversation in chats.all():
        tree = chats.tree(conversation.id)
        assert all(message.state is not State.PARTIAL for message in tree)
        assert len({(message.parent_id, message.version) for message in tree}) == len(tree)
        assert not tree or chats.path(conversation.id)[-1].id == conversation.leaf
    check_parts(chats)
    name = chats.create().id
    chats.close()
    assert Conversations(ended.place / SAVED).find(name)


def check_message(message: Message, num_words: int, *, is_complete: bool) -> None:
    """It is what was acknowledged last, or what was being written after it."""
    if message.state is State.INTERRUPTED:
        assert not is_complete
        assert message.content.startswith(text(num_words))
        assert text(NUM_WORDS).startswith(message.content)
    else:
        assert message.content == text(num_words if is_complete else NUM_WORDS)


def check_parts(chats: Conversations) -> None:
    with chats._database.write() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("message_terms", "title_terms"):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        searched = {id_ for (id_,) in connection.execute("SELECT rowid FROM message_terms")}
        assert searched == {id_ for (id_,) in connection.execute("SELECT id FROM messages")}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with programs() as opened:
        yield Ground(opened, "conversations", tmp_path_factory.mktemp("ground"))


@FEW_AND_ALL
def test_death_before_any_call_loses_nothing_that_was_acknowledged(
    ground: Ground, figure: Figure, has_all: bool
) -> None:
    kill_at(ground, check, figure, has_all=has_all)


@FEW_AND_ALL
def test_a_failing_disk_is_one_sentence_and_nothing_is_said_to_be_kept_that_is_not(
    ground: Ground, figure: Figure, has_all: bool
) -> None:
    fail_at(ground, check, figure, has_all=has_all)


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "conversations.db").write_bytes(b"no database" * 999)
    with pytest.raises(DataError, match="folder backups"):
        Conversations(tmp_path).all()
