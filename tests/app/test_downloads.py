"""Downloads go one after the other, can be stopped and gone on with, and nothing is fetched that nobody asked for."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.downloads import FILE, Download, Downloads, DownloadState
from app.receipt import Receipt
from core.errors import ConfigError, DownloadError
from core.hub import fetch
from core.hub.places import EMBEDDER, DownloadRecord, staging
from tests.conftest import ROOT
from tests.hub_server import COMMIT, FakeHub, serving, wait_until_kept

NAMES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
STARTER = ROOT / "models" / "starter"
LIMIT_S = 30
CUT = 3_000_000


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The starter as a repository."""
    hub = FakeHub({name: (STARTER / name).read_bytes() for name in NAMES})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(fetch, "RETRY_WAIT_S", 0.01)
    with serving(hub) as hub.url:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def open_downloads(folder: Path) -> Downloads:
    return Downloads(folder, Receipt(folder))


def ended(downloads: Downloads, name: str) -> Download:
    """The download once it has come to an end."""
    assert downloads.wait(name, LIMIT_S)
    found = downloads.find(name)
    assert found is not None
    return found


def test_a_cancelled_download_keeps_its_bytes_waits_over_a_restart_and_goes_on(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut_after, hub.stall = CUT, threading.Event()
    first = open_downloads(tmp_path)
    started = first.start(hub.name)
    assert first.start(hub.name).asked_at == started.asked_at
    assert hub.reached.wait(LIMIT_S)
    wait_until_kept(CUT // 2)
    first.cancel(hub.name)
    assert ended(first, hub.name).state == DownloadState.PAUSED
    hub.stall.set()
    hub.stall = None
    num_requests = len(hub.requests)
    second = open_downloads(tmp_path)
    assert [one.state for one in second.all()] == [DownloadState.PAUSED]
    assert len(hub.requests) == num_requests
    second.resume(hub.name)
    done = ended(second, hub.name)
    assert (done.state, done.commit, done.error) == (DownloadState.DONE, COMMIT, "")
    assert done.done_bytes == done.total_bytes == sum(map(len, hub.files.values()))
    begin = hub.asked("model.safetensors")[-1]
    assert begin is not None
    assert int(begin.removeprefix("bytes=").rstrip("-")) >= CUT // 2
    assert (done.path / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    visits = Receipt(tmp_path).visits()
    assert [visit.what for visit in visits] == [hub.name] * 2
    assert all(visit.hosts == (hub.url.removeprefix("http://"),) for visit in visits)
    assert 0 < visits[0].num_bytes < done.total_bytes
    assert "model.safetensors" in visits[0].files


def test_what_was_under_way_at_a_crash_is_paused_and_nothing_is_fetched(hub: FakeHub, tmp_path: Path) -> None:
    row = {"name": hub.name, "kind": "model", "state": "running", "done_bytes": 5, "total_bytes": 9}
    (tmp_path / FILE).write_text(json.dumps({"downloads": [row]}), encoding="utf-8")
    found = open_downloads(tmp_path).all()
    assert [(one.state, one.done_bytes) for one in found] == [(DownloadState.PAUSED, 5)]
    assert hub.requests == []


@pytest.mark.parametrize(
    "content", ["", "[]", '{"downloads": [{"name": "../x", "state": "done"}]}', '{"downloads": 3}']
)
def test_a_list_that_makes_no_sense_is_an_empty_one(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content, encoding="utf-8")
    assert open_downloads(tmp_path).all() == []


def test_several_wait_for_each_other_and_a_failure_is_a_sentence(hub: FakeHub, tmp_path: Path) -> None:
    downloads = open_downloads(tmp_path)
    downloads.start("someone/not-there")
    downloads.start(hub.name)
    assert downloads.all()[1].state == DownloadState.QUEUED
    failed = ended(downloads, "someone/not-there")
    assert failed.state == DownloadState.FAILED
    assert failed.error.startswith(f"There is no model someone/not-there at {hub.url}")
    assert ended(downloads, hub.name).state == DownloadState.DONE
    downloads.forget("someone/not-there")
    assert [one.name for one in open_downloads(tmp_path).all()] == [hub.name]


def test_a_full_disk_is_told_before_a_byte_of_weights_comes(hub: FakeHub, tmp_path: Path) -> None:
    hub.claims["model.safetensors"] = {"size": 10**17, "lfs": {"sha256": "0" * 64}}
    downloads = open_downloads(tmp_path)
    downloads.start(hub.name)
    assert "The download needs 105.0 PB" in ended(downloads, hub.name).error
    assert hub.asked("model.safetensors") == []


def test_an_embedder_comes_with_its_modules_into_a_folder_of_its_own(hub: FakeHub, tmp_path: Path) -> None:
    modules = {
        "modules.json": b"[]",
        "1_Pooling/config.json": b"{}",
        "../x/config.json": b"{}",
        "1_Pooling/run.py": b"",
    }
    hub.files = {**modules, "config.json": b'{"model_type": "bert"}', "model.safetensors": b"weights"}
    downloads = open_downloads(tmp_path)
    downloads.start(hub.name, kind=EMBEDDER)
    done = ended(downloads, hub.name)
    assert (done.error, done.folder.parent.name) == ("", "embedders")
    names = {path.relative_to(done.path).as_posix() for path in done.path.rglob("*") if path.is_file()}
    assert names == {"modules.json", "1_Pooling/config.json", "config.json", "model.safetensors", "download.json"}
    record = DownloadRecord.read(done.path)
    assert record is not None
    assert record.damaged(done.path) == []


def test_forgetting_an_unfinished_download_deletes_its_bytes(hub: FakeHub, tmp_path: Path) -> None:
    hub.cut_after, hub.stall = CUT, threading.Event()
    downloads = open_downloads(tmp_path)
    started = downloads.start(hub.name)
    assert hub.reached.wait(LIMIT_S)
    assert staging(started.folder).exists()
    downloads.forget(hub.name)
    assert (downloads.all(), staging(started.folder).exists()) == ([], False)


def test_what_cannot_be_downloaded_is_refused_at_once(tmp_path: Path) -> None:
    downloads = open_downloads(tmp_path)
    with pytest.raises(ConfigError, match="is not the name of a model"):
        downloads.start("https://example.org/model")
    with pytest.raises(ConfigError, match="cannot be downloaded as"):
        downloads.start("someone/some:x.gguf", kind=EMBEDDER)
    with pytest.raises(DownloadError, match="There is no download of"):
        downloads.resume("someone/some")
    assert not (tmp_path / FILE).exists()
