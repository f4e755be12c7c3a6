"""A chat whose program ends, or whose disk fails, at any system call that writes: what was acknowledged is there.

Nothing is doubled, every part of the file agrees with the others, and an answer that was being written is marked.
"""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.conversation_rows import Message, State
from app.conversations import Conversations
from core.errors import DataError
from tests.app.chatting_program import WORDS
from tests.system_calls import STAYS_FULL, Point, of_each_kind, points_in, run_traced, spread

REFUSED = 3
FULL = " ".join(WORDS)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt install strace)"),
]


class Ground:
    """Makes folders in which the program can run, and checks what it leaves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, name: str, *injected: str) -> tuple[Path, subprocess.CompletedProcess[str]]:
        place = self.folder / name
        place.mkdir()
        program = ["tests.app.chatting_program", str(place / "chats")]
        return place, run_traced(program, place / "trace", *injected)

    def points(self) -> list[Point]:
        place, result = self.run("undisturbed")
        assert result.returncode == 0, result.stderr
        points = points_in(place / "trace", place / "chats")
        self.check(place, result.stdout)
        return points

    def check(self, place: Path, said: str) -> None:
        lines = [json.loads(line) for line in said.splitlines()]
        chats = Conversations(place / "chats")
        deleted = {line["conversation"] for line in lines if line["what"] == "deleted"}
        for name in deleted:
            assert chats.find(name) is None
            chats.undelete(name)
        last = {(line["conversation"], line["message"]): line for line in lines if "message" in line}
        for (name, id_), line in last.items():
            is_trashed = chats.find(name) is None
            check_message(chats.undelete(name) and chats.message(name, id_), line)
            if is_trashed:
                chats.delete(name)
        for line in lines:
            if line["what"] == "titled":
                assert chats.undelete(line["conversation"]).title == line["title"]
        for conversation in chats.all():
            contents = Counter((one.parent_id, one.content, one.version) for one in chats.tree(conversation.id))
            assert max(contents.values(), default=1) == 1
            if conversation.leaf is not None:
                assert chats.path(conversation.id)[-1].id == conversation.leaf
            assert all(one.state is not State.PARTIAL for one in chats.tree(conversation.id))
        check_parts(chats)
        name = chats.create().id
        chats.close()
        assert Conversations(place / "chats").find(name)
        shutil.rmtree(place)


def check_message(message: Message, line: dict[str, Any]) -> None:
    """It is what was acknowledged last, or what was being written after it."""
    if line["what"] == "complete":
        assert (message.content, message.state) == (line["content"], State.COMPLETE)
    elif message.state is State.INTERRUPTED:
        assert message.content.startswith(line["content"])
        assert FULL.startswith(message.content)
    else:
        assert (message.content, message.state) == (FULL, State.COMPLETE)


def check_parts(chats: Conversations) -> None:
    with chats._database.write() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        for table in ("message_terms", "title_terms"):
            connection.execute(f"INSERT INTO {table} ({table}) VALUES ('integrity-check')")
        searched = {id_ for (id_,) in connection.execute("SELECT rowid FROM message_terms")}
        assert searched == {id_ for (id_,) in connection.execute("SELECT id FROM messages")}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("ground"))


@pytest.fixture(scope="module")
def points(ground: Ground) -> list[Point]:
    return ground.points()


def test_death_before_any_call_loses_nothing_that_was_acknowledged(ground: Ground, points: list[Point]) -> None:
    tried = of_each_kind(points)
    for i, point in enumerate(tried):
        place, result = ground.run(f"killed-{i}", f"{point.call}:signal=KILL:when={point.number}")
        assert result.returncode == -9, f"{point}: {result.returncode} {result.stderr}"
        ground.check(place, result.stdout)
    calls = dict(Counter(point.call for point in points))
    sys.stdout.write(f"{len(points)} calls {calls}; {len(tried)} kills, nothing acknowledged was lost\n")


def test_a_failing_disk_is_one_sentence_and_nothing_is_said_to_be_kept_that_is_not(
    ground: Ground, points: list[Point]
) -> None:
    cases = [
        (point, error, stays)
        for point in of_each_kind(points)
        for error in ("EIO", "ENOSPC", "EDQUOT")
        for stays in ("", "+")
        if not stays or point.call in STAYS_FULL
    ]
    for i, (point, error, stays) in enumerate(tried := spread(cases)):
        place, result = ground.run(f"failed-{i}", f"{point.call}:error={error}:when={point.number}{stays}")
        sentence = result.stderr.strip()
        assert (result.returncode, len(sentence.splitlines())) in {(0, 0), (REFUSED, 1)}, f"{point} {error}: {sentence}"
        ground.check(place, result.stdout)
    sys.stdout.write(f"{len(tried)} of {len(cases)} failing calls, each one sentence or none\n")


def test_a_file_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "conversations.db").write_bytes(b"no database" * 999)
    with pytest.raises(DataError, match="folder backups"):
        Conversations(tmp_path).all()
