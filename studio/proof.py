"""What a proof finds, and how it runs the programs that find it out.

    FOLDER/result.json    kind, verdict, seconds, seed or figures, and checks: name, passed, figures
    FOLDER/work           run folders of the copies; deleted at the end

A check that could not be made has `passed` null and says why in its figures. Words for people are the page's.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from core.config.rl_options import STAGES as RL_STAGES
from core.config.run_options import SAMPLE_PROMPTS
from core.config.train_config import TrainConfig
from core.errors import Sentence, packed
from core.files import read_json_object
from core.parallel.failure import ERROR_FILE, Cause
from core.parallel.launch import STOP_FILE, launch_command

Report = Callable[[Mapping[str, Any]], None]
CAUSE_SUFFIX = ".cause.json"
# Micro batches of a copy's step, at most: more add time and prove nothing more.
MAX_MICRO_BATCHES = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One claim: it holds, it does not, or (None) it was not tested."""

    name: str
    passed: bool | None
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def failed(cls, name: str, cause: Cause) -> Self:
        """A claim whose program failed; the figure has the sentence and the remedy, with their values."""
        return cls(name, passed=False, figures={"error": packed((cause.sentence, cause.remedy))})

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "figures": self.figures}


class ProgramError(Exception):
    """A program of the proof ended with this cause: what the proof was to find out, not a fault of its own."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


def copy_of(config: TrainConfig, output: Path, *, num_steps: int, nproc: int = 1, **changes: Any) -> TrainConfig:
    """The run made short: the same data, model and settings, but few steps and nothing beside them."""
    rows = min(config.global_batch_size, MAX_MICRO_BATCHES * config.micro_batch_size * nproc)
    return TrainConfig.from_dict(
        {
            **config.to_dict(),
            "output": str(output),
            "max_steps": num_steps,
            "epochs": 1.0,
            "global_batch_size": config.global_batch_size if config.stage in RL_STAGES else rows,
            "validation_interval": 0,
            "early_stopping": 0,
            "keep_best": False,
            "sample_interval": 0,
            "sample_prompts": SAMPLE_PROMPTS,
            "tensorboard": False,
            "log_interval": 1,
            **changes,
        }
    )


def run_module(arguments: list[str], log: Path, *, nproc: int = 1, show: Report | None = None) -> int:
    """Run a Python module (its name first) on so many processes, hand on what it reports; its exit status.

    What it says beside that goes to `log`, its cause of failure beside it. Leaving by an exception ends it.
    """
    environment = {name: value for name, value in os.environ.items() if name != STOP_FILE}
    environment[ERROR_FILE] = str(log.with_suffix(CAUSE_SUFFIX))
    command = [sys.executable, "-m", *arguments] if nproc == 1 else launch_command(nproc, arguments)
    with (
        log.open("wb") as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, env=environment) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if show is not None and (row := _row(line)):
                    show(row)
            return process.wait()
        except BaseException:
            process.terminate()
            raise


def must_run(arguments: list[str], log: Path, *, nproc: int = 1, show: Report | None = None) -> None:
    """`run_module`; raises ProgramError when it fails."""
    if code := run_module(arguments, log, nproc=nproc, show=show):
        raise ProgramError(cause_of(code, log))


def cause_of(code: int, log: Path) -> Cause:
    """Why a program failed: what it left, else what it said last."""
    path = log.with_suffix(CAUSE_SUFFIX)
    if path.exists():
        return Cause.from_dict(read_json_object(path))
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    ended = Sentence("The process ended with exit code {code} and left no word.", code=code)
    return Cause(said or ended, is_root=True)


def _row(line: bytes) -> dict[str, Any] | None:
    """A JSON object of a line, where it is one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
