"""The page's server for programs: the real program in a process, the real client, the key and nothing else opens."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from app.library_embedder import OWN_NAME
from rag import KnowledgeBase
from rag.embedding import load_embedder
from rag.embedding.load import DEFAULT_FOLDER

HAS_EMBEDDER = DEFAULT_FOLDER.is_dir()
FACT = "The harbour ferry to Pellworm leaves Nordstrand at half past seven every morning."
ROOT = Path(__file__).resolve().parents[2]
LOADING_S = 60


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a running page, without a path, and the key of its API."""
    home = tmp_path_factory.mktemp("home")
    fill_library(home)
    command = [sys.executable, "-m", "app", "app", "--no-browser", "--port", "0"]
    environment = os.environ | {"ASTRAI_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("AstrAI is at ")).split()[-1]
        yield address.partition("/login")[0], (home / "api.key").read_text().strip()
        process.terminate()


def fill_library(home: Path) -> None:
    """A library with one document, where the embedder is there to make one."""
    if HAS_EMBEDDER:
        (home / "ferries.md").write_text(f"# Ferries\n\n{FACT}\n", encoding="utf-8")
        with KnowledgeBase(home / "library") as kb:
            kb.add([home / "ferries.md"], "islands")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EMBEDDER, reason="the embedder's weights are not in the repository")
def test_the_openai_client_asks_the_documents(page: tuple[str, str]) -> None:
    address, key = page
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=key)
    wait_for_model(client)
    question: Any = [{"role": "user", "content": "When does the ferry to Pellworm leave Nordstrand?"}]
    islands, moon = {"collections": ["islands"]}, {"collections": ["moon"]}
    whole: Any = client.chat.completions.create(model="starter", messages=question, extra_body=islands)
    chunks: Any = list(
        client.chat.completions.create(model="starter", messages=question, extra_body=islands, stream=True)
    )
    assert whole.choices[0].message.content == FACT
    assert [Path(one["document"]).name for one in whole.citations] == ["ferries.md"]
    assert (whole.citations[0]["answer_start"], whole.citations[0]["answer_end"]) == (0, len(FACT))
    assert chunks[-1].citations == whole.citations
    with pytest.raises(openai.BadRequestError, match=r"no collection 'moon'; there are: 'islands'\. Choose one"):
        client.chat.completions.create(model="starter", messages=question, extra_body=moon)


def wait_for_model(client: openai.OpenAI) -> list[str]:
    """The names of the models beside the embedder, once one is loaded."""
    deadline = time.monotonic() + LOADING_S
    while not (names := [one.id for one in client.models.list() if one.id != OWN_NAME]) and time.monotonic() < deadline:
        time.sleep(0.2)
    return names


def test_the_openai_client_chats_with_the_model_of_the_page(page: tuple[str, str]) -> None:
    address, key = page
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=key)
    assert wait_for_model(client) == ["starter"]
    chunks = client.chat.completions.create(
        model="starter", messages=[{"role": "user", "content": "Who are you?"}], stream=True, temperature=0
    )
    assert "AstrAI" in "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@pytest.mark.skipif(not HAS_EMBEDDER, reason="the embedder's weights are not in the repository")
def test_the_openai_client_gets_the_vectors_of_the_librarys_embedder(page: tuple[str, str]) -> None:
    address, key = page
    texts = ["The ferry leaves in the morning.", "渡轮早上出发。"]
    with openai.OpenAI(base_url=f"{address}/v1", api_key=key) as client:
        answer = client.embeddings.create(model=OWN_NAME, input=texts)
        names = [model.id for model in client.models.list()]
        with pytest.raises(openai.NotFoundError, match="no model 'text-embedding-3-small'"):
            client.embeddings.create(model="text-embedding-3-small", input="x")
    vectors = np.array([one.embedding for one in answer.data], np.float32)
    np.testing.assert_allclose(vectors, load_embedder().encode_passages(texts), atol=1e-6)
    assert answer.usage.prompt_tokens > 0
    assert OWN_NAME in names


def test_without_the_key_nothing_below_v1_answers(page: tuple[str, str]) -> None:
    address, key = page
    for headers in ({}, {"authorization": "Bearer wrong"}, {"cookie": f"astrai_{address.rpartition(':')[2]}={key}"}):
        assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 401
    foreign = {"authorization": f"Bearer {key}", "origin": "http://example.com"}
    assert httpx.get(f"{address}/v1/models", headers=foreign).status_code == 403


def test_the_key_does_not_open_the_page(page: tuple[str, str]) -> None:
    address, key = page
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.get(address, headers=headers).status_code == 401
    assert httpx.get(f"{address}/metrics", headers=headers).status_code == 403
