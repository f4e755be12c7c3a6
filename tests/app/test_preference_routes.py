"""Pairs leave the page as a file and come back, each row judged."""

import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.paths import preferences_dir
from app.preference_routes import preference_routes
from app.preference_rows import Answer
from app.preferences import Preferences

QUESTION = [{"role": "user", "content": "你好吗？"}]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def preferences() -> Iterator[Preferences]:
    made = Preferences(preferences_dir())
    yield made
    made.close()


@pytest.fixture
def client(preferences: Preferences) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(preference_routes(preferences))
    with TestClient(app) as client:
        yield client


def test_what_was_exported_comes_in_again_and_is_known(client: TestClient, preferences: Preferences) -> None:
    preferences.rank(QUESTION, [Answer("a"), Answer("b"), Answer("c")])
    answer = client.get("/studio/preferences.jsonl")
    assert 'filename="preferences.jsonl"' in answer.headers["content-disposition"]
    assert len(answer.text.splitlines()) == 3
    told = client.post("/studio/preferences?name=p.jsonl", content=answer.content).text
    assert "New pairs from p.jsonl: 0. Here already: 3." in told
    preferences.delete([pair.id for pair in preferences.pairs()])
    told = client.post("/studio/preferences?name=p.jsonl&language=zh", content=answer.content).text
    assert "从 p.jsonl 新增 3 对" in told
    assert len(preferences.pairs()) == 3


def test_bad_rows_are_named_and_the_good_ones_taken(client: TestClient, preferences: Preferences) -> None:
    rows = [{"prompt": "q", "chosen": "c", "rejected": "r"}, {HOSTILE: 1}, *[{"prompt": "q"}] * 20]
    body = "".join(f"{json.dumps(row)}\n" for row in rows)
    told = client.post(f"/studio/preferences?name={HOSTILE}", content=body).text
    assert "Rows left out: 21." in told
    assert "row 2:" in told
    assert "and 13 more." in told
    assert "<script" not in told
    assert len(preferences.pairs()) == 1


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe", b"{" * 100_000, b"[1, 2"])
def test_what_is_no_file_of_pairs_adds_nothing(client: TestClient, preferences: Preferences, content: bytes) -> None:
    for name in ("a.jsonl", "a.json", "../../a.exe"):
        assert client.post(f"/studio/preferences?name={name}", content=content).status_code == 200
    assert preferences.pairs() == []
    assert not list(preferences_dir().glob(".import-*"))
