"""A model comes from a hub whole or not at all, is found by its name, and an interrupted download goes on."""

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import core
from app.models import ModelHolder
from core.errors import ConfigError, DownloadError
from core.hub.fetch import DownloadProgress, Watch, child_environment
from core.hub.places import RECORD, DownloadRecord, HubName, find_downloaded, models_folder, staging
from tests.core.hub.conftest import NAMES
from tests.hub_server import COMMIT, FakeHub, wait_until_kept

WEIGHTS = "model.safetensors"
CUT = 3_000_000


def started_child() -> psutil.Process:
    """The process of the download that this test has started."""
    return next(child for child in psutil.Process().children() if "core.hub.child" in child.cmdline())


@contextmanager
def stalled(hub: FakeHub) -> Iterator["Future[Path]"]:
    """A download that has some of the weights and waits for more."""
    hub.cut_after, hub.stall = CUT, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(core.download, hub.name)
        assert hub.reached.wait(20)
        wait_until_kept(CUT // 2)
        yield running
        hub.stall.set()


def test_a_download_is_whole_found_by_name_and_generates(hub: FakeHub) -> None:
    hub.files |= {"pytorch_model.bin": b"\x80pickle", "README.md": b"#", "modeling.py": b"import os"}
    states: list[DownloadProgress] = []
    folder = core.download(hub.name, watch=Watch(progress=states.append))
    assert folder == models_folder() / "someone--some-model"
    assert {path.name for path in folder.iterdir()} == {*NAMES, RECORD}
    assert {name: (folder / name).read_bytes() for name in NAMES} == {name: hub.files[name] for name in NAMES}
    assert [path.name for path in models_folder().iterdir()] == [folder.name]
    model = core.load(hub.name)
    assert model.name == hub.name
    assert model.generate("Once upon a time", max_new_tokens=4, temperature=0)
    assert folder in [choice.path for choice in ModelHolder().choices()]
    assert states[-1].done_bytes == states[-1].total_bytes == sum(len(hub.files[name]) for name in NAMES)
    assert states[0].commit == COMMIT
    done = [state.done_bytes for state in states]
    assert done == sorted(done)


@pytest.mark.usefixtures("in_this_process")
def test_what_is_here_and_intact_is_not_asked_for_again(hub: FakeHub) -> None:
    folder = core.download(hub.name, revision="v1")
    hub.requests.clear()
    assert core.download(hub.name) == folder
    assert core.download(hub.name, revision="v1") == folder
    assert core.download(hub.name, revision=COMMIT) == folder
    assert hub.requests == []
    assert core.download(hub.name, update=True) == folder
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {"some-model", "config.json"}


@pytest.mark.usefixtures("in_this_process")
def test_a_damaged_file_is_fetched_again_and_it_alone(hub: FakeHub) -> None:
    folder = core.download(hub.name)
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    hub.requests.clear()
    core.download(hub.name)
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert hub.asked(WEIGHTS) == [None]
    assert hub.asked("tokenizer.json") == []


def test_a_killed_child_goes_on_where_it_stopped_and_nothing_half_is_found_meanwhile(hub: FakeHub) -> None:
    with stalled(hub) as running:
        started_child().kill()
        with pytest.raises(DownloadError, match=r"ended by itself \(status -9\)\. Start again"):
            running.result()
    part = staging(models_folder() / "someone--some-model") / "files" / WEIGHTS
    had = part.stat().st_size
    assert 0 < had <= CUT
    assert find_downloaded(hub.name) is None
    assert [choice.is_starter for choice in ModelHolder().choices()] == [True]
    folder = core.download(hub.name)
    assert hub.asked(WEIGHTS) == [None, f"bytes={had}-"]
    assert hub.asked("tokenizer.json") == [None]
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert not part.parents[1].exists()


def test_a_second_download_of_the_same_model_at_once_is_refused(hub: FakeHub) -> None:
    with stalled(hub) as running:
        with pytest.raises(DownloadError, match="is being downloaded already"):
            core.download(hub.name)
        hub.stall.set()
        assert running.result() == models_folder() / "someone--some-model"


@pytest.mark.usefixtures("in_this_process")
def test_a_new_commit_replaces_the_old_and_takes_over_what_is_the_same(hub: FakeHub) -> None:
    folder = core.download(hub.name)
    hub.commit = "f" * 40
    hub.files["generation_config.json"] = b"{}"
    hub.requests.clear()
    assert core.download(hub.name, update=True) == folder
    record = DownloadRecord.read(folder)
    assert record is not None
    assert record.commit == "f" * 40
    assert (folder / "generation_config.json").read_bytes() == b"{}"
    assert hub.asked(WEIGHTS) == []
    assert [path.name for path in models_folder().iterdir()] == [folder.name]


@pytest.mark.usefixtures("in_this_process")
def test_a_crash_between_the_renames_of_an_update_leaves_the_old_model(hub: FakeHub) -> None:
    folder = core.download(hub.name)
    staging(folder).mkdir()
    folder.rename(staging(folder) / "old")
    hub.requests.clear()
    assert core.download(hub.name) == folder
    assert hub.requests == []
    assert core.load(hub.name).name == hub.name


def test_the_other_folder_must_be_new_empty_or_hold_this_model(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert core.download(hub.name, folder=tmp_path / "empty") == tmp_path / "empty"
    assert core.load(tmp_path / "empty").name == hub.name
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("the only copy")
    with pytest.raises(DownloadError, match="holds something else than someone/some-model"):
        core.download(hub.name, folder=tmp_path / "mine", update=True)
    with pytest.raises(DownloadError, match=r"cannot be (used|written)"):
        core.download(hub.name, folder=tmp_path / "mine" / "thesis.txt" / "model")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "the only copy"


def test_a_full_disk_is_said_and_the_download_goes_on_after_it(hub: FakeHub) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(DownloadError, match=r"is full \(File too large\)\. Free some space"):
            core.download(hub.name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    core.download(hub.name)
    assert hub.asked(WEIGHTS) == [None, f"bytes={1 << 20}-"]


@pytest.mark.usefixtures("in_this_process")
def test_a_gguf_file_is_fetched_alone_when_it_is_named(hub: FakeHub) -> None:
    hub.files = {"some-Q4_0.gguf": b"GGUF" * 100, "some-Q8_0.gguf": b"GGUF" * 200, "config.json": b"{}"}
    path = core.download(f"{hub.name}:some-Q4_0.gguf")
    assert path == models_folder() / "someone--some-model--some-Q4_0" / "some-Q4_0.gguf"
    assert path.read_bytes() == hub.files["some-Q4_0.gguf"]
    assert find_downloaded(f"{hub.name}:some-Q4_0.gguf") == path
    assert {request.path.rpartition("/")[2] for request in hub.requests} == {"some-model", "some-Q4_0.gguf"}


def test_the_key_goes_to_the_endpoint_and_nowhere_else(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    hub.storage_url = hub.url.replace("127.0.0.1", "localhost")
    with pytest.raises(DownloadError, match=r"and HF_TOKEN is not set\. Ask for it at") as refusal:
        core.download(hub.name)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong_secret")
    with pytest.raises(DownloadError, match="HF_TOKEN has no access to it") as other:
        core.download(hub.name)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with stalled(hub) as running:
        assert "hf_secret" not in " ".join(started_child().cmdline())
        hub.stall.set()
        folder = running.result()
    stored = [request for request in hub.requests if request.path.startswith("/storage/")]
    assert [request.token for request in stored] == [None, None]
    assert all(b"hf_secret" not in path.read_bytes() for path in folder.iterdir())
    assert "secret" not in str(refusal.value) + str(other.value)


def test_the_child_may_ask_the_network_and_this_process_still_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "intranet")
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    environment = child_environment()
    assert not {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} & set(environment)
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet,127.0.0.1,localhost,::1"
    assert environment["HF_HUB_DISABLE_TELEMETRY"] == environment["HF_HUB_DISABLE_XET"] == "1"


def test_no_network_is_said_at_once(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9 cannot be reached\. Check the network"):
        core.download(hub.name)


def test_a_hub_that_falls_silent_is_asked_again(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    with stalled(hub) as running:
        assert (running.result() / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert len(hub.asked(WEIGHTS)) == 2


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "a/b/c",
        "../b",
        "a/..",
        "a/b:../c.gguf",
        "a/b:c.bin",
        "a--b/c",
        "/etc/passwd",
        "a/b\n",
        "https://hf/a/b",
        "",
    ],
)
def test_a_name_that_no_model_has_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not the name of a model on the hub\. Write it as OWNER/NAME"):
        core.download(name)
    assert find_downloaded(name) is None


@pytest.mark.parametrize("revision", ["../main", "a b", "", "-x", "a\n"])
def test_a_revision_that_cannot_be_is_refused(revision: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a revision"):
        core.download("a/b", revision=revision)


@pytest.mark.usefixtures("in_this_process")
def test_names_of_folders_are_those_of_models_and_back(hub: FakeHub) -> None:
    assert HubName.parse("Qwen/Qwen3-0.6B").folder_name == "Qwen--Qwen3-0.6B"
    assert str(HubName.parse("a/b-GGUF:b-Q4_K_M.gguf")) == "a/b-GGUF:b-Q4_K_M.gguf"
    folder = core.download(hub.name)
    (folder / RECORD).write_text('{"name": 3}')
    assert DownloadRecord.read(folder) is None
    assert find_downloaded(hub.name) is None
    shutil.rmtree(folder)
    assert find_downloaded(hub.name) is None
