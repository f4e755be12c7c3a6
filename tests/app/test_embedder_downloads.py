"""An embedder of the hub is fetched when it is asked for, can be stopped and gone on with, and is then used."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.downloads import Downloads, DownloadState
from app.embedder_downloads import EmbedderDownloads
from app.library import Library
from app.receipt import Receipt
from core.hub import fetch
from core.hub.places import embedders_folder
from rag.embedding.load import DEFAULT_FOLDER
from tests.hub_server import FakeHub, serving, wait_until_kept

pytestmark = pytest.mark.skipif(not DEFAULT_FOLDER.is_dir(), reason="the embedder's weights are not in the repository")
LIMIT_S = 60
CUT = 1_000_000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """Our own embedder as a repository, with another hash, and things that nobody may fetch."""
    files = {
        path.name: path.read_bytes() for path in DEFAULT_FOLDER.iterdir() if path.suffix in (".json", ".safetensors")
    }
    files["tokenizer.json"] += b"\n"
    hub = FakeHub(
        files | {"modeling.py": b"", "pytorch_model.bin": b"", "1_Pooling/pool.pt": b"", "1_Pooling/run.py": b""}
    )
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(fetch, "RETRY_WAIT_S", 0.01)
    with serving(hub) as hub.url:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """One that has a document."""
    path = tmp_path / "lease.md"
    path.write_text("# Lease\n\nThe lease ends in March.\n", encoding="utf-8")
    library = Library(tmp_path / "library")
    library.add([path], "home")
    assert library.wait(timeout_s=LIMIT_S)
    yield library
    library.close()


@pytest.fixture
def embedders(library: Library, tmp_path: Path) -> EmbedderDownloads:
    return EmbedderDownloads(library, Downloads(tmp_path, Receipt(tmp_path)))


def wait(embedders: EmbedderDownloads, library: Library) -> None:
    """Until nothing is under way."""
    deadline = time.monotonic() + LIMIT_S
    while embedders.is_busy and time.monotonic() < deadline:
        time.sleep(0.02)
    assert library.wait(timeout_s=LIMIT_S)


def test_an_embedder_is_fetched_and_used_and_still_is_after_a_restart(
    hub: FakeHub, library: Library, embedders: EmbedderDownloads
) -> None:
    before = library.embedder.id
    assert embedders.missing(f" {hub.name} ") == hub.name
    assert hub.requests == []
    embedders.begin(hub.name)
    wait(embedders, library)
    assert (library.activity.embedder, library.activity.error) == (hub.name, None)
    assert library.embedder.id != before
    assert embedders.missing(hub.name) is None
    assert embedders.unfinished() == []
    (folder,) = embedders_folder().iterdir()
    assert not [path for path in folder.rglob("*") if path.suffix in (".py", ".bin", ".pt")]
    assert not [request for request in hub.requests if request.path.endswith((".py", ".bin", ".pt"))]
    again = Library(library.folder, follows=False)
    assert again.embedder.id == library.embedder.id
    assert again.open().search("When does the lease end?")[0].legs["dense"].rank == 1


def test_a_download_that_was_stopped_changes_nothing_until_it_goes_on(
    hub: FakeHub, library: Library, embedders: EmbedderDownloads
) -> None:
    before = library.embedder.id
    hub.cut_after, hub.stall = CUT, threading.Event()
    embedders.begin(hub.name)
    assert hub.reached.wait(LIMIT_S)
    wait_until_kept(CUT // 2, "embedding.safetensors")
    embedders.cancel(hub.name)
    wait(embedders, library)
    assert [one.state for one in embedders.unfinished()] == [DownloadState.PAUSED]
    assert library.embedder.id == before
    hub.stall.set()
    hub.stall = None
    embedders.resume(hub.name)
    wait(embedders, library)
    assert library.activity.embedder == hub.name
    first, second = hub.asked("embedding.safetensors")
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").rstrip("-")) >= CUT // 2


def test_a_model_of_pickles_is_refused_before_a_byte_of_it_comes(
    hub: FakeHub, library: Library, embedders: EmbedderDownloads
) -> None:
    del hub.files["embedding.safetensors"]
    embedders.begin(hub.name)
    wait(embedders, library)
    (failed,) = embedders.unfinished()
    assert (failed.state, failed.error) == (
        DownloadState.FAILED,
        f"{hub.name} has no safetensors. Choose a sentence-transformers model whose weights are safetensors.",
    )
    assert len(hub.requests) == 1
    embedders.forget(hub.name)
    assert embedders.unfinished() == []


@pytest.mark.parametrize("typed", ["", "/home/me/model", "~/model", "owner/name:file.gguf", "owner", "../x/y"])
def test_what_no_hub_has_is_no_download(embedders: EmbedderDownloads, typed: str) -> None:
    assert embedders.missing(typed) is None
