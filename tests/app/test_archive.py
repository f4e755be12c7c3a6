"""A backup in one zip: it gives back everything, refuses what others made up, and leaves the old state or the new."""

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app import archive
from app.archive import back_up, complete_restore, restore, stage_restore
from app.conversation_rows import Said
from app.conversations import Conversations
from app.paths import conversations_dir, library_dir, preferences_dir
from app.preference_rows import Answer
from app.preferences import Preferences
from core.errors import AssistantError, BusyError, DataError
from core.folders import data_dir
from rag import KnowledgeBase
from tests.conftest import ROOT
from tests.rag.conftest import HashEmbedder

QUESTION = [{"role": "user", "content": "Who?"}]


def fill(word: str) -> None:
    """A data folder that tells which one it is."""
    chats = Conversations(conversations_dir())
    chats.add(chats.create().id, "user", Said(word), parent_id=None)
    chats.close()
    preferences = Preferences(preferences_dir())
    preferences.rate(QUESTION, Answer(word), 1)
    preferences.close()
    copies = library_dir() / "files" / "batch0001"
    copies.mkdir(parents=True, exist_ok=True)
    (copies / f"{word}.txt").write_text(f"The {word} swims.", encoding="utf-8")
    with KnowledgeBase(library_dir(), HashEmbedder()) as kb:
        kb.add([copies / f"{word}.txt"])
    (data_dir() / "settings.json").write_text('{"idle_minutes": 7}', encoding="utf-8")


def told() -> dict[str, Any]:
    """What is in the data folder, and that it all can be used."""
    chats = Conversations(conversations_dir())
    preferences = Preferences(preferences_dir())
    with KnowledgeBase(library_dir(), HashEmbedder()) as kb:
        hits = {hit.path: hit.path.read_text(encoding="utf-8") for hit in kb.search("swims", k=5)}
        documents = sorted(str(document.path) for document in kb.documents())
    found = {
        "titles": sorted(one.title for one in chats.all()),
        "liked": sorted(text for _, text in preferences.liked()),
        "documents": documents,
        "texts": sorted(hits.values()),
        "files": sorted(path.name for path in (library_dir() / "files").rglob("*.txt")),
    }
    chats.close()
    preferences.close()
    return found


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of a data folder that tells of an otter, and beside it the folder, which tells of a heron too."""
    place = tmp_path_factory.mktemp("ground")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASTRAI_HOME", str(place / "home"))
        fill("otter")
        assert back_up(place / "backup.zip") == 5
        fill("heron")
    return place


@pytest.fixture
def zipped(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copies of both, of this test alone, in a folder of the same name."""
    home = tmp_path / "home"
    shutil.copytree(ground / "home", home)
    monkeypatch.setenv("ASTRAI_HOME", str(home))
    library = sqlite3.connect(home / "library/library.db")
    with library:
        library.execute("UPDATE documents SET path = replace(path, ?, ?)", (str(ground / "home"), str(home)))
    library.close()
    return Path(shutil.copy(ground / "backup.zip", tmp_path))


def test_a_restored_backup_is_what_was_backed_up_and_the_rest_lies_aside(zipped: Path) -> None:
    assert told()["titles"] == ["heron", "otter"]
    restore(zipped)
    assert told() == {
        "titles": ["otter"],
        "liked": ["otter"],
        "documents": [str(library_dir() / "files/batch0001/otter.txt")],
        "texts": ["The otter swims."],
        "files": ["otter.txt"],
    }
    assert json.loads((data_dir() / "settings.json").read_text(encoding="utf-8")) == {"idle_minutes": 7}
    assert (data_dir() / "replaced/library/files/batch0001/heron.txt").exists()
    assert not list(data_dir().glob(".restoring-*"))
    assert zipped.stat().st_mode & 0o77 == 0


def test_a_backup_moves_to_another_folder_with_its_documents(
    zipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASTRAI_HOME", str(tmp_path / "elsewhere"))
    restore(zipped)
    found = told()
    assert found["documents"] == [str(tmp_path / "elsewhere/library/files/batch0001/otter.txt")]
    assert (found["titles"], found["texts"]) == (["otter"], ["The otter swims."])


def test_a_backup_is_made_while_the_program_writes(tmp_path: Path) -> None:
    chats = Conversations(conversations_dir())
    chats.add(chats.create().id, "user", Said("open"), parent_id=None)
    back_up(tmp_path / "backup.zip")
    with pytest.raises(BusyError, match="running on these data"):
        restore(tmp_path / "backup.zip")
    assert not list(data_dir().glob(".restoring-*"))
    chats.close()
    restore(tmp_path / "backup.zip")
    assert [one.title for one in Conversations(conversations_dir()).all()] == ["open"]


def test_what_was_staged_is_restored_at_the_next_start(zipped: Path) -> None:
    stage_restore(zipped)
    stage_restore(zipped)  # the last one counts
    assert len(list(data_dir().glob(".restoring-*"))) == 1
    assert told()["titles"] == ["heron", "otter"]
    complete_restore()
    complete_restore()
    assert told()["titles"] == ["otter"]


def contents() -> dict[str, bytes]:
    """Every file of the data folder, but for locks."""
    files = (path for path in data_dir().rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(data_dir())): path.read_bytes() for path in files}


Change = Callable[[dict[str, bytes]], None]


def remade(zipped: Path, change: Change, *, relists: bool = True) -> Path:
    """The zip with other files in it, and a list that fits them unless told otherwise."""
    with zipfile.ZipFile(zipped) as old:
        files = {name: old.read(name) for name in old.namelist()}
    head = json.loads(files.pop(archive.MANIFEST))
    change(files)
    if relists:
        head["files"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            for name, content in files.items()
        }
    path = zipped.with_name("changed.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            new.writestr(name, content)
        new.writestr(archive.MANIFEST, json.dumps(head))
    return path


def database(statement: str) -> Change:
    """Run a statement in the conversations of the zip."""

    def change(files: dict[str, bytes]) -> None:
        connection = sqlite3.connect(":memory:")
        connection.deserialize(files["conversations/conversations.db"])
        connection.executescript(statement)
        files["conversations/conversations.db"] = connection.serialize()
        connection.close()

    return change


def added(name: str, content: bytes = b"x") -> Change:
    return lambda files: files.update({name: content})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (added("../evil.txt"), "does not belong"),
        (added("/etc/evil"), "does not belong"),
        (added("library/files/batch0001/../../../evil.txt"), "is no name for a file"),
        (added("library/files/batch0001/..\\..\\evil.txt"), "is no name for a file"),
        (added("library/files/batch0001/c:evil.txt"), "is no name for a file"),
        (added("session.key"), "does not belong"),
        (added("studio/runs/x/config.json"), "does not belong"),
        (added("library/files/batch0001/bomb.txt", b"\0" * 3_000_000), "would grow"),
        (added("settings.json", b'{"idle_minutes": -1}'), "must be in"),
        (added("settings.json", b"[]"), "not an object"),
        (added("conversations/conversations.db", b"SQLite format 3\0" * 99), "no archive"),
        (database("CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM messages; END"), "other tables"),
        (database("CREATE VIEW v AS SELECT 1"), "other tables"),
        (database("CREATE TABLE evil_data (x)"), "other tables"),
        (database("PRAGMA user_version = 99"), "this program knows"),
        (database("DROP TABLE messages"), "other tables"),
        (
            database("INSERT INTO messages VALUES (99, 'x', 98, 'user', '', 0, 'complete', 'said', '', '', '')"),
            "missing",
        ),
    ],
)
def test_a_zip_that_somebody_made_up_is_refused_and_changes_nothing(zipped: Path, change: Change, reason: str) -> None:
    changed, before = remade(zipped, change), contents()
    with pytest.raises(AssistantError, match=reason):
        restore(changed)
    assert contents() == before


def test_a_zip_whose_list_does_not_fit_is_refused(zipped: Path, tmp_path: Path) -> None:
    def flip(files: dict[str, bytes]) -> None:
        files["settings.json"] = b'{"idle_minutes": 9}'

    for change in (flip, added("settings2.json")):
        with pytest.raises(DataError, match=r"is not what its list says|names other files"):
            restore(remade(zipped, change, relists=False))
    (tmp_path / "none.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="is no archive"):
        restore(tmp_path / "none.zip")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as linked:
        info = zipfile.ZipInfo("library/files/batch0001/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        linked.writestr(info, "/etc/passwd")
        linked.writestr(archive.MANIFEST, "{}")
    with pytest.raises(DataError, match="no regular file"):
        restore(tmp_path / "link.zip")


KILLED = """
import os, sys
from pathlib import Path
import app.archive as archive
moves, fatal = 0, int(sys.argv[2])
def dying(of):
    def move(*arguments, **options):
        global moves
        moves += 1
        if moves == fatal:
            os._exit(9)
        return of(*arguments, **options)
    return move
archive.os.replace, Path.unlink = dying(os.replace), dying(Path.unlink)
archive.restore(Path(sys.argv[1]))
print(moves)
"""


@pytest.mark.slow
def test_death_at_any_move_leaves_the_old_state_or_the_new(zipped: Path, tmp_path: Path) -> None:
    states = []
    for fatal in range(1, 60):
        home = tmp_path / f"home-{fatal}"
        subprocess.run(["cp", "-a", str(data_dir()), str(home)], check=True)
        environment = os.environ | {"ASTRAI_HOME": str(home)}
        command = [sys.executable, "-c", KILLED, str(zipped), str(fatal)]
        ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ASTRAI_HOME", str(home))
            complete_restore()
            chats, preferences = Conversations(conversations_dir()), Preferences(preferences_dir())
            titles, liked = sorted(one.title for one in chats.all()), sorted(text for _, text in preferences.liked())
            assert titles == liked
            assert titles in (["heron", "otter"], ["otter"])
            files = sorted(path.stem for path in (library_dir() / "files").rglob("*.txt"))
            assert files == titles
            chats.close()
            preferences.close()
        states.append(titles)
        if ended.returncode == 0:
            break
        assert ended.returncode == 9, ended.stderr
    assert ended.returncode == 0
    assert states == sorted(states, key=len, reverse=True)  # once the new state counts it stays
