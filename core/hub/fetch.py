"""Downloads a model in a child process, and says how far it is.

The child has an environment of its own, since huggingface_hub reads HF_HUB_OFFLINE when it is imported: this process
stays one that asks nobody. The key in HF_TOKEN is handed on through that environment and nowhere else.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from core.errors import AssistantError, ConfigError, DownloadError, ModelError
from core.hub.places import (
    EMBEDDER,
    KEPT,
    MODEL,
    DownloadRecord,
    HubName,
    check_revision,
    embedders_folder,
    models_folder,
    staging,
)

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
RETRY_WAIT_S = 1.0
CANCEL_INTERVAL_S = 0.1
MAX_LOGGED_BYTES = 4000
ERRORS: dict[str, type[AssistantError]] = {error.__name__: error for error in (ConfigError, DownloadError, ModelError)}
ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # only the key in HF_TOKEN, not one that another program keeps
    # Xet fetches through a library of its own, whose bytes pass no check and no bound of ours on their way.
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "PYTHONUTF8": "1",
}
LIFTED = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DEBUG")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    """How far a download is. `done_bytes` were there or have come; the rate is of what came in this run."""

    commit: str
    num_files: int
    file: str
    done_bytes: int
    total_bytes: int
    bytes_per_s: float
    eta_s: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who is told of a download: how far it is, and each host before it is asked for anything.

    `cancelled` ends the download when it is set, from any thread.
    """

    progress: Callable[[DownloadProgress], None] = lambda state: None
    connecting: Callable[[str], None] = lambda host: None
    cancelled: threading.Event = field(default_factory=threading.Event)


def download(
    name: str,
    *,
    revision: str | None = None,
    folder: str | Path | None = None,
    update: bool = False,
    kind: str = MODEL,
    watch: Watch | None = None,
) -> Path:
    """Fetch a model from the hub at HF_ENDPOINT, and give its folder: config, tokenizer and safetensors, no pickles.

    `name` is OWNER/NAME, or OWNER/NAME:FILE.gguf for that file alone; `revision` a branch, a tag or a commit. It
    lands in the user's models folder, where `core.load(name)` finds it, or in `folder`. What is there already and
    intact is not asked for again, unless `update` wants to know whether the revision has moved. An interrupted
    download goes on where it stopped. `kind` "embedder" is a sentence-transformers model, which lands in a folder of
    its own.
    Raises: ConfigError for a bad name or revision, ModelError for a model that cannot run here, DownloadError.
    """
    wanted = HubName.parse(name)
    if revision is not None:
        check_revision(revision)
    if kind == EMBEDDER and wanted.file:
        raise ConfigError("{name} is a GGUF file, which is no embedder.", "Give OWNER/NAME alone.", name=name)
    place = embedders_folder if kind == EMBEDDER else models_folder
    try:
        target = (Path(folder).expanduser() if folder else place() / wanted.folder_name).resolve()
        is_here = _look(target, wanted, revision)
    except OSError as exc:
        raise DownloadError(
            "{folder} cannot be used: {reason}.",
            "Choose a folder that you may write to.",
            folder=exc.filename or folder,
            reason=exc.strerror,
        ) from exc
    if update or not is_here:
        job = {"name": name, "revision": revision, "folder": str(target), "wait_s": RETRY_WAIT_S, "kind": kind}
        _run_child(job, watch or Watch())
    return target / wanted.file if wanted.file else target


def _look(target: Path, wanted: HubName, revision: str | None) -> bool:
    """Whether the target holds this model, intact. Raises DownloadError when it holds something else."""
    old = staging(target) / "old"
    if old.exists() and not target.exists():  # ended between the two renames that change an old model for a new one
        old.rename(target)
    if not target.exists():
        return False
    if not target.is_dir() or any(target.iterdir()):
        record = DownloadRecord.read(target)
        if record is None or record.name != str(wanted):
            raise DownloadError(
                "{folder} holds something else than {name}.",
                "Choose a new folder, or remove that one.",
                folder=target,
                name=wanted,
            )
        return record.is_of(wanted, revision) and not record.damaged(target)
    target.rmdir()
    return False


def _run_child(job: dict[str, Any], watch: Watch) -> None:
    progress = _Progress(watch)
    with tempfile.TemporaryFile() as complaints, _child(job, complaints) as process:
        threading.Thread(target=_end_when, args=(watch.cancelled, process), daemon=True).start()
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith("\n"):
                break  # it was ended in the middle of it
            event = json.loads(line)
            if event["event"] == "error":
                raise ERRORS[event["kind"]](*event["sentences"], **event["values"])
            if event["event"] == "done":
                return
            progress.see(event)
        process.wait()
        if watch.cancelled.is_set():
            raise DownloadError("The download of {name} was cancelled.", KEPT, name=job["name"])
        complaints.seek(0)
        text = complaints.read().decode("utf-8", "replace")[-MAX_LOGGED_BYTES:]
        logger.error("the download ended with status %s: %s", process.returncode, text)
    raise DownloadError("The download ended by itself (status {status}).", KEPT, status=process.returncode or 0)


def _end_when(cancelled: threading.Event, process: "subprocess.Popen[str]") -> None:
    """Kill the process once the event is set; what it has downloaded stays."""
    while process.poll() is None:
        if cancelled.wait(CANCEL_INTERVAL_S):
            process.kill()
            return


@contextmanager
def _child(job: dict[str, Any], complaints: IO[bytes]) -> Iterator["subprocess.Popen[str]"]:
    """The process at its job. It ends with the block; what it has downloaded stays, at whatever point that is."""
    with subprocess.Popen(
        [sys.executable, "-m", "core.hub.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        encoding="utf-8",
        cwd=ROOT,
        env=child_environment(),
    ) as process:
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it died at once, and its complaint says why
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
            yield process
        finally:
            process.kill()


def child_environment() -> dict[str, str]:
    """This process's environment without what keeps huggingface_hub offline, and with what keeps it quiet."""
    kept = {name: value for name, value in os.environ.items() if name not in LIFTED}
    no_proxy = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), *LOOPBACK]))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**kept, **ENVIRONMENT, "NO_PROXY": no_proxy, "no_proxy": no_proxy, "PYTHONPATH": path}


class _Progress:
    """The child's events as DownloadProgress, and the hosts that it connects to."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._start: dict[str, Any] = {}
        self._started_s = 0.0

    def see(self, event: dict[str, Any]) -> None:
        """Take in a `host`, `start` or `bytes` event."""
        if event["event"] == "host":
            self._watch.connecting(event["host"])
            return
        if event["event"] == "start":
            self._start, self._started_s = event, time.monotonic()
        done, total = event["done"], self._start["total"]
        elapsed_s = time.monotonic() - self._started_s
        rate = max(0.0, (done - self._start["done"]) / elapsed_s) if elapsed_s > 0 else 0.0
        eta_s = (total - done) / rate if rate > 0 else None
        commit, num_files = self._start["commit"], self._start["num_files"]
        self._watch.progress(DownloadProgress(commit, num_files, event.get("file", ""), done, total, rate, eta_s))
