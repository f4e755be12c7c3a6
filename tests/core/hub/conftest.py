"""A hub that serves the starter, and a download from it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.hub import child, fetch
from tests.conftest import ROOT
from tests.hub_server import FakeHub, serving

NAMES = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """The starter as a repository, at the endpoint of this test."""
    hub = FakeHub({name: (ROOT / "models" / "starter" / name).read_bytes() for name in NAMES})
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(fetch, "RETRY_WAIT_S", 0.01)
    with serving(hub) as hub.url:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def in_this_process(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's work is done here, which saves its start."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)

    def run(job: dict[str, Any], watch: fetch.Watch) -> None:
        Path(job["folder"]).parent.mkdir(parents=True, exist_ok=True)
        child.run(child.Job(**job), fetch._Progress(watch).see)

    monkeypatch.setattr(fetch, "_run_child", run)


@pytest.fixture
def fetch_here(hub: FakeHub, in_this_process: None, tmp_path: Path) -> Callable[..., Path]:
    """Download to a folder of the test's own, and give it."""

    def run(name: str = hub.name, revision: str | None = None) -> Path:
        return fetch.download(name, revision=revision, folder=tmp_path / "model", update=True)

    return run
