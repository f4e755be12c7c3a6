"""Proof that a run resumes: a copy is run whole, another is killed at a random step and resumed, and both are compared.

Everything must be the same to the last bit: weights, the optimiser's averages, random states, the loss and the other
metrics of every step, and the batches that every step learnt from. What is compared are files: metrics.jsonl,
watched-RANK.jsonl and the last checkpoint of both (core/trainer/rehearsal.py).
"""

import hashlib
import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig
from core.files import write_json
from studio.proof import Check, ProgramError, Report, cause_of, copy_of, must_run, run_module

NUM_STEPS = 12
REHEARSAL = "core.trainer.rehearsal"
# Of the metrics, those that hang on the clock or the machine.
UNREPEATABLE = (
    "attempt", "time", "tokens_per_s", "data_wait", "beside_steps", "optimizer", "efficiency", "memory_bytes", "eta_s",
)  # fmt: skip
RNG_PREFIX = "rng_state."
OPTIMIZER_FILES = "optimizer"

Rows = dict[int, dict[str, Any]]  # by step


def prove_resume(config: TrainConfig, work: Path, *, seed: int, nproc: int, report: Report) -> list[Check]:
    """Run the copies in `work` and compare them. Raises ProgramError when one does not run."""
    draw = random.Random(seed)  # noqa: S311 - where to kill
    die_at = draw.randint(2, NUM_STEPS - 1)
    save_at = draw.randint(1, die_at - 1)
    runs = _Runs(config, work, nproc=nproc, num_steps=2 * NUM_STEPS + die_at - save_at, report=report)
    whole, ended = work / "whole", work / "ended"
    runs.run(whole, "whole", "--save-at", str(save_at))
    killed = runs.kill(ended, "killed", "--save-at", str(save_at), "--die-at", str(die_at))
    before = _steps(ended, "metrics.jsonl")
    runs.run(ended, "resumed", "--save-at", "0", "--resume")
    first = min((step for step, row in _steps(ended, "metrics.jsonl").items() if row["attempt"] > 1), default=0)
    figures = {"seed": seed, "num_steps": NUM_STEPS, "killed_at": die_at, "saved_at": save_at, "first_resumed": first}
    return [
        Check("killed", killed and first == save_at + 1, figures),
        _compared("repeatable", _metrics(_upto(_steps(whole, "metrics.jsonl"), die_at)), _metrics(before)),
        _compared("data_order", *(_watched(run, nproc, "batches") for run in (whole, ended))),
        _compared("random_numbers", *(_watched(run, nproc, "drawn") for run in (whole, ended))),
        _compared("metrics", *(_metrics(_steps(run, "metrics.jsonl")) for run in (whole, ended))),
        *_checkpoint_checks(whole, ended),
    ]


class _Runs:
    """The copies, one after the other, with the progress of all."""

    def __init__(self, config: TrainConfig, work: Path, *, nproc: int, num_steps: int, report: Report) -> None:
        self._config, self._work, self._nproc = config, work, nproc
        self._num_steps, self._report, self._step = num_steps, report, 0

    def run(self, output: Path, phase: str, *options: str) -> None:
        must_run(self._arguments(output, options), self._log(phase), nproc=self._nproc, show=self._shown(phase))

    def kill(self, output: Path, phase: str, *options: str) -> bool:
        """Run one that kills itself; whether it died so. Raises ProgramError when it failed before."""
        arguments, log = self._arguments(output, options), self._log(phase)
        code = run_module(arguments, log, nproc=self._nproc, show=self._shown(phase))
        if code > 0 and self._nproc == 1:
            raise ProgramError(cause_of(code, log))
        return code != 0

    def _arguments(self, output: Path, options: tuple[str, ...]) -> list[str]:
        path = self._work / f"{output.name}.json"
        copy = copy_of(self._config, output, num_steps=NUM_STEPS, nproc=self._nproc)
        write_json(path, copy.to_dict())
        return [REHEARSAL, str(path), *options]

    def _log(self, phase: str) -> Path:
        return self._work / f"{phase}.log"

    def _shown(self, phase: str) -> Report:
        def show(row: Mapping[str, Any]) -> None:
            self._step += "loss" in row
            self._report({"step": self._step, "num_steps": self._num_steps, "phase": phase})

        return show


def _steps(run: Path, name: str) -> Rows:
    """Rows of a file by step: those of a later attempt replace those before."""
    path = run / name
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {row["step"]: row for row in map(json.loads, lines)}


def _upto(rows: Rows, last: int) -> Rows:
    return {step: row for step, row in rows.items() if step <= last}


def _metrics(rows: Rows) -> dict[str, Any]:
    """What must repeat, by `step N`."""
    return {
        f"step {step}": {name: value for name, value in row.items() if name not in UNREPEATABLE}
        for step, row in sorted(rows.items())
    }


def _watched(run: Path, nproc: int, key: str) -> dict[str, Any]:
    """One column of what was watched, by rank and step."""
    return {
        f"step {step}" if nproc == 1 else f"step {step} rank {rank}": row[key]
        for rank in range(nproc)
        for step, row in sorted(_steps(run, f"watched-{rank}.jsonl").items())
    }


def _checkpoint_checks(whole: Path, ended: Path) -> list[Check]:
    """The last checkpoints of both, tensor by tensor."""
    expected, found = (_tensors(run / f"checkpoints/step-{NUM_STEPS:08d}") for run in (whole, ended))
    return [
        _compared(kind, _of_kind(expected, kind), _of_kind(found, kind))
        for kind in ("weights", "optimizer", "random_states")
    ]


def _of_kind(tensors: Mapping[tuple[str, str], str], kind: str) -> dict[str, str]:
    return {name: digest for (file, name), digest in tensors.items() if _kind(file, name) == kind}


def _kind(file: str, name: str) -> str:
    if not file.startswith(OPTIMIZER_FILES):
        return "weights"
    return "random_states" if name.startswith(RNG_PREFIX) else "optimizer"


def _tensors(checkpoint: Path) -> dict[tuple[str, str], str]:
    """SHA-256 of every tensor's bytes, by file and name."""
    return {
        (path.name, name): digest
        for path in sorted(checkpoint.glob("*.safetensors"))
        for name, digest in tensor_hashes(path).items()
    }


def tensor_hashes(path: Path) -> dict[str, str]:
    """SHA-256 of type, shape and bytes of each tensor of a safetensors file, read in turn."""
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        hashes = {}
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            first, end = entry["data_offsets"]
            digest = hashlib.sha256(f"{entry['dtype']} {entry['shape']}".encode())
            file.seek(8 + size + first)
            digest.update(file.read(end - first))
            hashes[name] = digest.hexdigest()
        return hashes


def _compared(name: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Check:
    """Whether both hold the same, their hashes, and where they differ first."""
    different = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
    figures: dict[str, Any] = {
        "count": len(expected),
        "num_different": len(different),
        "uninterrupted": _digest(expected),
        "resumed": _digest(found),
    }
    if different:
        figures |= {
            "first_different": different[0],
            "values": [expected.get(different[0]), found.get(different[0])],
        }
    return Check(name, not different and bool(expected), figures)


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
