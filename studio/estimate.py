"""What a run will take, measured: a few real steps at its longest batch, in a child process.

Where the files are not prepared yet, the beginning of each is, in another child, and its rows stand for the rest. Both
children are ended when somebody does not wait for them, when they take too long, and before they take the last of the
machine's memory.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from core.config.train_config import TrainConfig
from core.errors import TrainingError, unpacked
from core.files import read_json_object, write_json
from core.parallel.launch import launch_command, launch_environment
from core.parallel.priority import BACKGROUND, asks_for_background

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 0.1
# The rest is for the system and for whoever waits for the estimate.
MIN_FREE_BYTES = 384 << 20
PATHS = ("data", "base", "reward_model", "tokenizer")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Time and memory of a run. Where its first steps do not fit into memory, `fits` is false and times are 0."""

    fits: bool
    device: str
    peak_memory_bytes: int  # of all processes, on a GPU of its tensors; of a run that does not fit, up to where it got
    machine_memory_bytes: int  # that is free for it
    step_s: float
    num_steps: int
    total_s: float  # of the steps: validations and checkpoints come on top
    tokens_per_s: float
    longest_row_tokens: int
    num_parameters: int
    num_trained: int
    problems: tuple[str, ...]  # what the run leaves out, in sentences
    is_sampled: bool  # the number of steps follows from the beginning of the files


def estimate(
    config: TrainConfig,
    *,
    prepare: Mapping[str, Any] | None = None,
    nproc: int = 1,
    timeout_s: float = 180.0,
    should_stop: Callable[[], bool] = lambda: False,
) -> Estimate | None:
    """Measure a run that was not started; None when `should_stop` says so.

    `prepare` names files that its data is made of, as a job does. Raises TrainingError when the steps fail, with their
    reason, or take longer than `timeout_s`.
    """
    child = _Child(time.monotonic() + timeout_s, timeout_s, should_stop)
    with TemporaryDirectory(prefix="astrai-estimate-") as name:
        folder, share = Path(name), 1.0
        data = config.data
        if prepare is not None:
            write_json(folder / "prepare.json", _with_whole_paths({**prepare, "base": config.base}))
            if child.run("studio.sample_data", [str(folder / "prepare.json"), str(folder)]) is None:
                return None
            share, data = float(read_json_object(folder / "share.json")["share"]), str(folder / "data")
        run = {**config.to_dict(), "data": data, "output": str(folder / "run")}
        write_json(folder / "config.json", _with_whole_paths(run))
        measured = child.run("core.trainer.probe", [str(folder / "config.json")], config=config, nproc=nproc)
    if measured is None:
        return None
    return _estimate(config, measured, share, child)


def _estimate(config: TrainConfig, measured: dict[str, Any], share: float, child: "_Child") -> Estimate:
    if child.found_no_memory:
        return Estimate(False, "", child.peak_bytes, child.free_bytes, 0.0, 0, 0.0, 0.0, 0, 0, 0, (), share < 1)
    num_steps, step_s = measured["num_steps"], measured["step_s"]
    if share < 1 and config.max_steps is None:
        num_steps = max(int(measured["rows_per_epoch"] * config.epochs / share / config.global_batch_size), 1)
    free = measured["free_memory_bytes"] if measured["device"] == "cuda" else child.free_bytes
    return Estimate(
        fits=measured["peak_memory_bytes"] <= free,
        device=measured["device"],
        peak_memory_bytes=measured["peak_memory_bytes"],
        machine_memory_bytes=free,
        step_s=step_s,
        num_steps=num_steps,
        total_s=step_s * num_steps,
        tokens_per_s=measured["tokens_per_step"] / step_s,
        longest_row_tokens=measured["longest_row_tokens"],
        num_parameters=measured["num_parameters"],
        num_trained=measured["num_trained"],
        problems=unpacked(measured["problems"]),
        is_sampled=share < 1,
    )


def _with_whole_paths(values: dict[str, Any]) -> dict[str, Any]:
    """The same files for a process in another folder; hub names stay as they are."""

    def whole(name: str) -> str:
        return str(Path(name).absolute()) if Path(name).exists() else name

    changed: dict[str, Any] = {name: whole(values[name]) for name in PATHS if isinstance(values.get(name), str)}
    if "mixture" in values:
        changed["mixture"] = {whole(name): share for name, share in values["mixture"].items()}
    if "paths" in values:
        changed["paths"] = [whole(str(path)) for path in values["paths"]]
    return {**values, **changed}


class _Child:
    """Processes that are waited for, one after the other."""

    def __init__(self, deadline: float, timeout_s: float, should_stop: Callable[[], bool]) -> None:
        self._deadline, self._timeout_s, self._should_stop = deadline, timeout_s, should_stop
        self.free_bytes = psutil.virtual_memory().available
        self.peak_bytes = 0
        self.found_no_memory = False

    def run(
        self, module: str, arguments: list[str], *, config: TrainConfig | None = None, nproc: int = 1
    ) -> dict[str, Any] | None:
        """The JSON line that a module ends with, {} without one; None when it was stopped. Raises TrainingError.

        With `nproc` it runs on so many processes, as a run of the config does.
        """
        line, environment = [sys.executable, "-m", module, *arguments], {}
        if config is not None and nproc > 1:
            line, environment = launch_command(nproc, [module, *arguments]), launch_environment(config, nproc)
        with TemporaryDirectory(prefix="astrai-estimate-") as name:
            output, errors = Path(name, "stdout"), Path(name, "stderr")
            with output.open("wb") as out, errors.open("wb") as err:
                process = subprocess.Popen(
                    line,
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env={**os.environ, **environment, BACKGROUND: str(int(asks_for_background("1")))},
                    start_new_session=True,
                )
                try:
                    is_done = self._wait(process)
                finally:
                    _end(process)
            if not is_done:
                return {} if self.found_no_memory else None
            return self._result(process.returncode, output.read_bytes(), errors.read_bytes())

    def _wait(self, process: "subprocess.Popen[bytes]") -> bool:
        """Whether it ended by itself."""
        while process.poll() is None:
            if self._should_stop():
                return False
            self._watch_memory(process.pid)
            if self.found_no_memory:
                return False
            if time.monotonic() > self._deadline:
                raise TrainingError(
                    "The first steps took longer than {seconds:.0f} s.",
                    "Choose a smaller model, shorter rows (max_seq_len) or a smaller micro_batch_size.",
                    seconds=self._timeout_s,
                )
            time.sleep(POLL_S)
        return True

    def _watch_memory(self, pid: int) -> None:
        try:
            first = psutil.Process(pid)
            processes = [first, *first.children(recursive=True)]
            self.peak_bytes = max(self.peak_bytes, sum(each.memory_info().rss for each in processes))
        except psutil.Error:
            return
        self.found_no_memory = psutil.virtual_memory().available < MIN_FREE_BYTES

    def _result(self, code: int, output: bytes, errors: bytes) -> dict[str, Any]:
        lines = output.decode("utf-8", "replace").strip().splitlines()
        try:
            found = json.loads(lines[-1]) if lines else {}
        except ValueError:
            found = {}
        if code == 0:
            return dict(found)
        if found.get("kind") == "oom" or code == -signal.SIGKILL:
            self.found_no_memory = True
            return {}
        if "error" in found:
            raise TrainingError.from_dict(found["error"])
        told = errors.decode("utf-8", "replace").strip().splitlines()
        raise TrainingError(
            "The first steps ended with status {code}: {last}.",
            "Correct what it says, or start the run without an estimate.",
            code=code,
            last=told[-1] if told else "no word",
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it started."""
    if process.poll() is not None:
        return
    for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            each.kill()
        except psutil.Error:
            continue
    process.wait()
