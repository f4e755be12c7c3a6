"""A training run on many processes: started as a job of its own, shown and stopped from here."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig
from core.errors import TrainingError
from core.files import write_json
from core.parallel.launch import launch_command, launch_environment


@dataclass(frozen=True, slots=True)
class Job:
    """How many processes on how many machines, which meet at `rendezvous`, and how often they may fail."""

    nproc: int
    nodes: int = 1
    rendezvous: str | None = None
    max_restarts: int = 0


def train_on_many(config: TrainConfig, job: Job, *, resume: bool, show: Callable[[dict[str, Any]], None]) -> int:
    """Run the job to its end, showing what the first rank reports; its exit status, 1 after a cause on stderr.

    Raises: TrainingError when the run folder holds another run.
    """
    path = _write_config(config, resume=resume)
    arguments = ["core.trainer", str(path), "--report", *(["--resume"] if resume else [])]
    command = launch_command(
        job.nproc, arguments, nodes=job.nodes, rendezvous=job.rendezvous, max_restarts=job.max_restarts
    )
    environment = {**os.environ, **launch_environment(config, job.nproc)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, env=environment) as process:
        assert process.stdout is not None
        with _signals_passed_to(process):
            for line in process.stdout:
                if row := _row(line):
                    show(row)
            return process.wait()


def _write_config(config: TrainConfig, *, resume: bool) -> Path:
    """Where the ranks find the config: a resumed run keeps its own, to be compared."""
    run = Path(config.output)
    path = run / ("resume.json" if resume else "config.json")
    if path.exists() and not resume and TrainConfig.from_json(path) != config:
        raise TrainingError(f"{run} already holds a run.", "Resume it with --resume, or choose another --output.")
    write_json(path, config.to_dict())
    return path


def _row(line: bytes) -> dict[str, Any]:
    """What the first rank reports; other text of a library passes through."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if isinstance(row, dict):
        return row
    sys.stderr.write(line.decode(errors="replace"))
    return {}


@contextmanager
def _signals_passed_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The launcher, in a session of its own, hears of Ctrl-C once and through us."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda received, _: process.send_signal(received)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
