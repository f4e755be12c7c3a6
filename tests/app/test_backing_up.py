"""A backup that the page makes and fetches, and one that it takes: through the routes, as the browser asks them."""

import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.archive import staged_parts
from app.archive_routes import archive_routes
from app.backing_up import Backup
from app.conversation_rows import Said
from app.conversations import Conversations
from app.paths import conversations_dir
from app.tabs.archive import archive_html
from core.errors import BusyError
from core.folders import data_dir


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TestClient:
    monkeypatch.setenv("ASTRAI_HOME", str(tmp_path / "home"))
    chats = Conversations(conversations_dir())
    chats.add(chats.create().id, "user", Said("An otter"), parent_id=None)
    chats.close()
    app = FastAPI()
    app.state.backup = Backup(data_dir())
    app.include_router(archive_routes(app.state.backup))
    return TestClient(app)


def made(client: TestClient) -> Backup:
    backup: Backup = client.app.state.backup  # type: ignore[attr-defined]
    backup.begin()
    until = time.monotonic() + 20
    while backup.is_active and time.monotonic() < until:
        time.sleep(0.01)
    return backup


def send(client: TestClient, content: bytes, language: str = "en") -> tuple[int, dict[str, object]]:
    answer = client.post("/archive/restore", params={"name": "mine.zip", "language": language}, content=content)
    return answer.status_code, answer.json()


def test_a_backup_is_fetched_and_comes_back_staged_for_the_next_start(client: TestClient) -> None:
    assert client.get("/archive/backup.zip").status_code == 404
    backup = made(client)
    assert backup.state is not None
    assert backup.state.path is not None
    assert backup.state.done_bytes == backup.state.total_bytes > 0
    answer = client.get("/archive/backup.zip")
    assert answer.headers["content-disposition"] == f'attachment; filename="{backup.state.path.name}"'
    assert backup.state.path.name in archive_html(backup.state, [], "zh")
    status, told = send(client, answer.content)
    assert (status, told["parts"]) == (200, ["conversations/conversations.db"])
    assert staged_parts() == told["parts"]
    assert "conversations" in archive_html(None, staged_parts(), "en")
    Backup(data_dir())  # the next start
    assert client.get("/archive/backup.zip").status_code == 404


@pytest.mark.parametrize(("language", "said"), [("en", "is no archive of AstrAI"), ("zh", "不是 AstrAI 的备份文件")])
def test_what_is_no_backup_is_refused_with_a_sentence_and_nothing_is_left(
    client: TestClient, language: str, said: str
) -> None:
    before = sorted(path.name for path in data_dir().iterdir())
    status, told = send(client, b"PK\x03\x04 no zip", language)
    assert status == 400
    assert str(told["error"]).startswith("mine.zip")
    assert said in str(told["error"])
    assert (staged_parts(), sorted(path.name for path in data_dir().iterdir())) == ([], before)


def test_a_file_larger_than_the_disk_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/archive/restore?name=mine.zip", content=b"", headers={"content-length": str(10**18)})
    assert (answer.status_code, "are free on this disk" in answer.json()["error"]) == (400, True)


def test_one_is_made_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    backup: Backup = client.app.state.backup  # type: ignore[attr-defined]
    monkeypatch.setattr(backup, "_run", lambda: None)
    backup.begin()
    with pytest.raises(BusyError):
        backup.begin()
