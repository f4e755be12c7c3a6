"""Conversations out as files and in again, and what of others' files is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as some

from app import conversation_files as files
from app.conversation_routes import conversation_routes
from app.conversation_rows import Kind, Said, State
from app.conversations import Conversations
from app.preference_rows import Origin
from core.data.formats import Chat, recognise
from core.errors import DataError

OWN = Origin("starter")


@pytest.fixture
def chats(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path)


@pytest.fixture
def opened(chats: Conversations) -> str:
    """Two versions of an answer, a notice, a cited answer."""
    name = chats.create(title="动物 / Zoo", folder="学习", persona="Tutor", collections=["手册"], pinned=True).id
    question = chats.add(name, "user", Said("大熊猫住在哪里？"), parent_id=None)
    chats.add(name, "assistant", Said("Sea.", origin=OWN), parent_id=question)
    answer = chats.add(name, "assistant", Said("Sichuan.\n\n# Not a title", origin=OWN), parent_id=question)
    question = chats.add(name, "user", Said("<!-- message: user -->\nSure?"), parent_id=answer)
    notice = chats.add(name, "assistant", Said("Too long.", Kind.NOTICE), parent_id=question)
    question = chats.add(name, "user", Said("And the lease?"), parent_id=notice)
    chats.add(name, "assistant", Said("March [1].", sources="1. lease.pdf", details={"a": [1]}), parent_id=question)
    return name


def told(chats: Conversations, name: str) -> list[Any]:
    """All that a file must keep."""
    tree = chats.tree(name)
    places = {message.id: place for place, message in enumerate(tree)}
    conversation = chats.get(name)
    fields = ("title", "created", "updated", "pinned", "folder", "persona", "collections")
    rows = [(places.get(one.parent_id or 0), one.role, one.said, one.state, one.created) for one in tree]
    return [[getattr(conversation, field) for field in fields], places.get(conversation.leaf or 0), rows]


def test_json_gives_back_every_version_and_field(chats: Conversations, opened: str, tmp_path: Path) -> None:
    other = Conversations(tmp_path / "other")
    assert files.read(other, "x.JSON", files.to_json(chats, [opened]).encode()) == 1
    (taken,) = other.all()
    assert told(other, taken.id) == told(chats, opened)
    assert [found.conversation.id for found in other.search("熊貓")] == [taken.id]


def test_markdown_gives_back_the_shown_path(chats: Conversations, opened: str) -> None:
    text = files.to_markdown(chats.get(opened), chats.path(opened))
    assert text.startswith("# 动物 / Zoo\n")
    files.read(chats, "x.md", text.encode())
    taken = next(one for one in chats.all() if one.id != opened)
    assert [(one.role, one.content) for one in chats.path(taken.id)] == [
        (one.role, one.content) for one in chats.path(opened)
    ]
    assert taken.title == "动物 / Zoo"


def test_training_data_ends_before_an_answer_from_documents(chats: Conversations, opened: str) -> None:
    example = recognise(json.loads(files.to_examples(chats.path(opened))))
    assert isinstance(example, Chat)
    assert [one["content"] for one in example.messages] == ["大熊猫住在哪里？", "Sichuan.\n\n# Not a title"]
    assert files.to_examples(chats.path(opened)[:1]) == ""


def test_no_character_of_an_answer_ends_a_line_of_training_data(chats: Conversations) -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\u2028b\x85c"}]
    content = "\r\n".join([json.dumps({"messages": turns}, ensure_ascii=False)] * 2)
    assert files.read(chats, "x.jsonl", content.encode()) == 2
    assert [chats.path(row.id)[1].content for row in chats.all()] == ["a\u2028b\x85c"] * 2


def test_conversations_of_other_programs_are_read(chats: Conversations) -> None:
    rows = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a"}]},
        {"conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]},
    ]  # fmt: skip
    assert files.read(chats, "x.jsonl", "\n".join(map(json.dumps, rows)).encode()) == 2
    assert {tuple(one.content for one in chats.path(row.id)) for row in chats.all()} == {("q", "a"), ("问", "答")}


def wrong(**changes: Any) -> bytes:
    message = {"parent": None, "role": "user", "content": "q"} | changes
    value = {"format": files.FORMAT, "version": 1, "conversations": [{"title": "t", "messages": [message]}]}
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.exe", b"", "cannot be read as conversations"),
        ("x.json", b"\xff", "is no file of conversations"),
        ("x.json", b"[" * 100_000, "is no file of conversations"),
        ("x.json", b"{", "wrong in line 1, column 2"),
        ("x.jsonl", b'\n\n{"messages": [}', "wrong in line 3, column 15"),
        ("x.json", b"{}", "row 1"),
        ("x.json", b"[]", "holds no conversation"),
        ("x.json", b"3", "is no object"),
        ("x.md", b"# only a title", "holds no conversation"),
        ("x.json", wrong(role="system"), "role 'system'"),
        ("x.json", wrong(parent=0), "follows 0"),
        ("x.json", wrong(parent=True), "follows True"),
        ("x.json", wrong(content=["q"]), "is no text"),
        ("x.json", wrong().replace(b'"version": 1', b'"version": 2'), "format 2 is not 1"),
        ("x.json", b'{"format": "astrai-conversations", "version": 1, "conversations": {}}', "not a list"),
    ],
)
def test_what_is_no_conversation_is_refused_whole(chats: Conversations, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        files.read(chats, name, content)
    assert chats.all() == []


def test_fields_that_cannot_be_are_what_they_are_without(chats: Conversations) -> None:
    content = wrong(state="partial", kind=3, origin="x", details=[], created="inf")
    files.read(chats, "x.json", content)
    (message,) = chats.path(chats.all()[0].id)
    assert (message.state, message.said) == (State.INTERRUPTED, Said("q"))


@settings(max_examples=40)
@given(text=some.text(max_size=60))
def test_any_text_survives_markdown(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = text.replace("\r", "")
    message = {"role": "user", "content": content}
    ((conversation, rows),) = [files._line_of([message], "t")]
    ((_, back),) = files._from_markdown(files.to_markdown(conversation, [message for _, message in rows]))
    assert back[0][1].content.strip("\n") == content.encode("utf-8", "replace").decode().strip("\n")


def test_the_routes_give_files_and_take_them(chats: Conversations, opened: str) -> None:
    app = FastAPI()
    app.include_router(conversation_routes(chats))
    client = TestClient(app)
    for kind in ("md", "json", "jsonl"):
        answer = client.get(f"/conversations/{opened}.{kind}")
        assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%E5%8A%A8%E7%89%A9")
    everything = client.get("/conversations/all.json")
    said = client.post("/conversations/import?name=all.json&language=zh", content=everything.content)
    assert (said.status_code, said.text, len(chats.all())) == (200, "all.json：已导入 1 个对话。", 2)
    assert client.post("/conversations/import?name=all.json", content=b"{").status_code == 400
    assert client.get("/conversations/0123456789abcdef.md").status_code == 404
    assert client.get(f"/conversations/{opened}.exe").status_code == 404
