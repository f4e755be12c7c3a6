"""What holds for every test: an own data folder, no network, few threads, and skips that say why."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from app.machine import CHROMIUM_NAMES

pytest_plugins = ["tests.alone", "tests.figures"]

# Before torch is imported: workers share the cores, and nothing may ask a server.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", GRADIO_ANALYTICS_ENABLED="False")

hypothesis.settings.register_profile("same every time", derandomize=True)
hypothesis.settings.load_profile("same every time")
ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".pytest_cache" / "kernels"))  # compiled once for all tests
SHARED_DATA = ROOT.parent / "shared" / "data"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
REASONS = {
    "browser": (any(map(shutil.which, CHROMIUM_NAMES)), "Chromium is not installed (apt install chromium)"),
    "gpu": (shutil.which("nvidia-smi") is not None, "there is no NVIDIA GPU"),
    "shared": (SHARED_DATA.is_dir(), "the development data is not beside the repository"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run."""
    for item in items:
        for marker, (is_here, reason) in REASONS.items():
            if not is_here and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name packed contents by their size: gzip writes the time into them, and workers must agree on a test's name."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder of this test, empty."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("ASTRAI_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Fail any connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in LOOPBACK:
            pytest.fail(f"a test tried to reach {address[0]}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
