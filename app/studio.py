"""The studio behind the page: its jobs, what one of them shows, files that were dropped for a new run.

Importing this costs nothing: `studio` comes with the first question to it. What trains are processes of their own; here
they are only started, asked to stop and looked at.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.checkpoint_answers import CheckpointAnswers, checkpoints
from app.dropped_files import copy_dropped, place_of
from app.i18n import t
from app.models import ModelChoice
from app.paths import models_dir, starter_dir
from app.studio_metrics import MetricsReader, last_rows
from core.errors import AssistantError, ModelError, TrainingError
from core.files import read_json_object, write_json
from core.model.folder import ADAPTER_CONFIG, CONFIG, find_model, is_adapter

if TYPE_CHECKING:
    from core.config.train_config import TrainConfig
    from studio import Job, JobStore
    from studio.bottleneck import Limit
    from studio.model_registry import ModelNode

logger = logging.getLogger(__name__)

GGUF_FILE = "model.gguf"  # of a run that has written a model as one file
RUNS, UPLOADS, DRAFTS = "runs", "uploads", "drafts"
ATTEND_EVERY_S = 30.0
LOG_BYTES = 20_000
SAMPLE_BYTES = 40_000
MAX_NOTE_CHARS, MAX_NAME_CHARS = 4000, 80
# Buttons that write a copy: the kind of the job, its command, its output within the run's folder, and options.
COPIES = {
    "export": ("export", "export", "{run}/model", ("--to", "hf")),
    "gguf": ("export", "export", "{run}/model.gguf", ("--to", "gguf")),
    "merge": ("merge", "merge", "{run}/model", ()),
    "quantize": ("quantize", "export", "{run}/model", ("--to", "int4")),
}
PROOFS = {"prove_resume": "resume", "preflight": "preflight"}


class Studio:
    """The door of the page to `studio`. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics, self.answers = MetricsReader(), CheckpointAnswers()
        self._opening = threading.Lock()
        self._store: JobStore | None = None
        self._attended_at = -ATTEND_EVERY_S

    @property
    def store(self) -> "JobStore":
        """The jobs, opened when they are first asked for."""
        with self._opening:
            if self._store is None:
                from studio import JobStore

                self._store = JobStore(self.folder)
        self._attend(self._store)
        return self._store

    def _attend(self, store: "JobStore") -> None:
        """Now and then see that what should run does, in a thread, for it may start processes."""
        from studio import attend

        now = time.monotonic()
        with self._opening:
            if now - self._attended_at < ATTEND_EVERY_S:
                return
            self._attended_at = now
        threading.Thread(target=_safely, args=(attend, store), name="studio attends", daemon=True).start()

    # What is there

    def job(self, run: str) -> "Job":
        """Raises: AssistantError for a run that is not there."""
        return self.store.job(run)

    def samples(self, job: "Job") -> list[dict[str, Any]]:
        """The texts that the model wrote on the way, those at the end of the file."""
        path = job.folder / "samples.jsonl"
        return _objects(_tail(path, SAMPLE_BYTES)) if path.exists() else []

    def config(self, job: "Job") -> dict[str, Any]:
        """The run's own config; empty where it has none yet."""
        return _object(job.folder / "config.json")

    def result(self, job: "Job") -> dict[str, Any]:
        """What a program found."""
        from studio.model_registry import result_of

        return result_of(job.folder) if job.spec.kind != "train" and job.state == "finished" else {}

    def limit(self, job: "Job", rows: list[dict[str, Any]]) -> "Limit | None":
        """What limits the speed of a run that goes on."""
        from studio.bottleneck import what_limits

        return what_limits(rows) if job.state == "running" and rows else None

    def last_rows(self, job: "Job") -> list[dict[str, Any]]:
        return last_rows(job.folder)

    def checkpoint_steps(self, job: "Job") -> list[int]:
        return [int(path.name.removeprefix("step-")) for path in checkpoints(job.folder)]

    def models(self) -> "list[ModelNode]":
        """Every model of this machine, parents first."""
        from studio.model_registry import models

        return models(self.store, models_dir(), starter_dir())

    def model(self, path: str) -> "ModelNode":
        """One of them. Raises: ModelError for a path that is none of theirs."""
        found = next((node for node in self.models() if str(node.path) == path), None)
        if found is None:
            raise ModelError("{path} is none of the models here.", "Look at the list again.", path=path[:200])
        return found

    def choices(self) -> list[ModelChoice]:
        """The models that runs have made and that can be talked to, and those that their adapters stand on."""
        if not (self.folder / RUNS).is_dir():
            return []
        made = [job for job in self.store.jobs() if job.state == "finished" and "-rm-" not in job.id]
        found = [ModelChoice(job.name, job.folder) for job in made if _holds_result(job.folder)]
        bases = {base: None for job in made if (base := _base_of(job.folder / "model")) is not None}
        return [*found, *(ModelChoice(base.name, base) for base in bases)]

    def choice(self, run: str, path: str) -> ModelChoice:
        """What the chat is to open: the model of a run, or a model by its path. Raises: AssistantError."""
        node = None if run else self.model(path)
        if run_id := run or (node.job_id if node else None):
            job = self.job(run_id)
            return ModelChoice(job.name, job.folder)
        assert node is not None
        return ModelChoice(node.name, node.path)

    # What changes something

    def act(self, run: str, act: str, text: str = "") -> "Job | None":
        """Do what a button says; the job that was started, where one was. Raises: AssistantError."""
        from studio import kill, resume, stop

        simple: dict[str, Callable[[], object]] = {
            "stop": lambda: stop(self.store, run),
            "kill": lambda: kill(self.store, run),
            "cancel": lambda: self.store.trash(run),
            "delete": lambda: self.store.trash(run),
            "note": lambda: self.store.set_note(run, text[:MAX_NOTE_CHARS]),
            "rename": lambda: self.store.rename(run, _name(text)),
            "up": lambda: self._move(run, -1),
            "down": lambda: self._move(run, 1),
        }
        if act in PROOFS:
            return self.prove(act, self.job(run))
        if act == "resume":
            return resume(self.store, run)
        if act in simple:
            simple[act]()
        return None

    def prove(self, kind: str, job: "Job") -> "Job":
        """Start a proof on a copy of a run."""
        nproc = ("--nproc", str(job.spec.nproc)) if kind == "prove_resume" else ()
        arguments = (PROOFS[kind], str(job.folder / "config.json"), "--output", "{run}", *nproc)
        return self.program(kind, "studio.proofs", arguments, name=job.name, of=job.id)

    def preflight(self, config: "TrainConfig", prepare: dict[str, Any] | None, name: str) -> "Job":
        """Start the check of a run that was not started yet, on the beginnings of its files."""
        folder = self.folder / DRAFTS / self.store.new_id("preflight")
        write_json(folder / "config.json", config.to_dict())
        arguments = ["preflight", str(folder / "config.json"), "--output", "{run}"]
        if prepare is not None:
            write_json(folder / "prepare.json", {**prepare, "base": config.base})
            arguments += ["--prepare", str(folder / "prepare.json")]
        return self.program("preflight", "studio.proofs", tuple(arguments), name=name)

    def evaluate(self, node: "ModelNode", files: list[str]) -> "Job":
        """Start the evaluation of a model on files: a reward model judges the pairs in them."""
        given = ("--reward-model", str(node.path), "--pairs", *files)
        arguments = given if node.is_reward_model else (*files, "--model", str(node.path))
        return self.program("evaluate", "app", ("eval", *arguments, "--json"), name=node.name, of=str(node.path))

    def write_copy(self, act: str, path: str, name: str, language: str) -> "Job":
        """Start what a button of COPIES says: a copy of a model in another form, in the folder of its own job."""
        kind, command, output, options = COPIES[act]
        title = f"{t(f'kind_{kind}', language)} · {name}"
        return self.program(kind, "app", (command, path, output, *options), name=title, of=path)

    def program(self, kind: str, module: str, arguments: tuple[str, ...], *, name: str, of: str = "") -> "Job":
        """Start a program as a job; `of` is the run or model that it is about."""
        from studio import start_program

        return start_program(self.store, kind, module, arguments, name=name, metadata={"of": of})

    def _move(self, run: str, by: int) -> None:
        queue = self.store.queue()
        if run in queue:
            place = queue.index(run)
            queue.insert(max(place + by, 0), queue.pop(place))
            self.store.reorder(queue)

    # Dropped files

    def receive(self, batch: str, name: str, content: IO[bytes]) -> bool:
        """Keep a copy of one file of a drop. Raises: DataError for a name or size that cannot be."""
        copy_dropped(content, place_of(self.folder / UPLOADS, batch, name))
        return True

    def dropped(self, batch: str) -> Path:
        """The folder of a drop. Raises: DataError for a name that is none, TrainingError where it is not there."""
        folder = place_of(self.folder / UPLOADS, batch, "x").parent
        if not folder.is_dir():
            raise TrainingError("No file of this drop arrived.", "Drop the files again.")
        return folder

    def forget(self, batch: str) -> None:
        """Delete the copies of a drop."""
        shutil.rmtree(self.dropped(batch), ignore_errors=True)


def _holds_result(run: Path) -> bool:
    """Whether a run has made a model: a folder of one, an adapter, or a file for llama.cpp."""
    return any((run / name).exists() for name in (f"model/{CONFIG}", f"model/{ADAPTER_CONFIG}", GGUF_FILE))


def _base_of(folder: Path) -> Path | None:
    """The whole model that an adapter stands on, where it is a folder or file that no run has made."""
    if not is_adapter(folder):
        return None
    try:
        name = read_json_object(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
        base = find_model(str(name))
    except AssistantError:
        return None
    is_own = base.name == "model" and (base.parent / "job").is_dir()
    return None if is_own or is_adapter(base) else base


def _safely(work: "Callable[[JobStore], None]", store: "JobStore") -> None:
    try:
        work(store)
    except (AssistantError, OSError):
        logger.exception("attending to the studio")


def _name(text: str) -> str:
    """A run's name as it is kept."""
    return " ".join(text.split())[:MAX_NAME_CHARS]


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path) if path.exists() else {}
    except AssistantError:
        return {}


def _tail(path: Path, num_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - num_bytes, 0))
        return file.read()


def _objects(content: bytes) -> list[dict[str, Any]]:
    """The JSON objects of whole lines."""
    import json

    rows = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
