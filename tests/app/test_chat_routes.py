"""What the chat asks for beside Gradio: files for a question, and what a model saw."""

from pathlib import Path
from typing import cast

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.allowed_routes import ways_of
from app.attachments import Attachments
from app.chat_routes import chat_routes
from app.conversation_rows import Said
from app.conversations import Conversations
from rag.embedding import Embedder


@pytest.fixture
def conversations(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path / "conversations")


@pytest.fixture
def client(tmp_path: Path, conversations: Conversations) -> TestClient:
    attachments = Attachments(tmp_path / "attachments", lambda: cast(Embedder, None))
    app = FastAPI()
    app.include_router(chat_routes(conversations, attachments))
    return TestClient(app)


@pytest.mark.parametrize("is_temporary", [False, True])
def test_what_a_model_saw_is_told_for_the_answer_of_a_conversation(
    client: TestClient, conversations: Conversations, *, is_temporary: bool
) -> None:
    chat = conversations.create(is_temporary=is_temporary).id
    said = Said("Yes", details={"prompt": "<|user|><b>"})
    answer = conversations.add(chat, "assistant", said, parent_id=None)
    path = f"/chat/seen/{chat}/{answer}"
    assert ways_of(path)
    found = client.get(path, params={"language": "zh"})
    assert "模型看到的内容" in found.text
    assert "&lt;|user|&gt;&lt;b&gt;" in found.text
    conversations.close()


def test_a_message_that_is_not_there_is_said_to_be_gone(client: TestClient, conversations: Conversations) -> None:
    found = client.get(f"/chat/seen/{conversations.create().id}/7")
    assert (found.status_code, '<p class="error">' in found.text) == (404, True)
    conversations.close()


def test_a_file_comes_in_and_a_name_that_leads_elsewhere_does_not(client: TestClient) -> None:
    assert client.post("/chat/files/abcdefgh", params={"name": "a.md"}, content=b"").status_code == 200
    refused = client.post("/chat/files/abcdefgh", params={"name": "../a.md"}, content=b"x")
    assert (refused.status_code, "is no name" in refused.json()["error"]) == (400, True)
    assert client.post("/chat/files/UPPER", params={"name": "a.md"}, content=b"x").status_code == 400
