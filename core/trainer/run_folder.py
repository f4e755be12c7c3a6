"""A run on disk: its config, its metrics and its checkpoints.

    run/config.json                     the TrainConfig
    run/metrics.jsonl                   one row per logged step, keyed by (attempt, step)
    run/samples.jsonl, run/tensorboard  by option: texts written on the way, event files
    run/checkpoints/step-00000400/      a model folder, optimizer.safetensors, state.json, manifest.json
    run/model/                          the result, a model folder; written when the last step is done

A checkpoint is written under a temporary name, flushed, hashed into its manifest and renamed. The
newest one whose hashes agree is what a resume takes.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer

from core.data.tokenizer import Tokenizer
from core.errors import ModelError, TrainingError
from core.files import sha256_file, sync, write_json
from core.model.checkpoint import free_bytes
from core.model.transformer import Backbone
from core.trainer.optimizer import load_optimizer_tensors, optimizer_tensors
from core.trainer.parameters import save_result

OPTIMIZER = "optimizer.safetensors"
WEIGHTS = "safetensors"  # behind the prefix of what is trained beside the model
RNG_STATE = "rng_state"
STATE = "state.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.root / "samples.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.root / "tensorboard"

    @property
    def model(self) -> Path:
        return self.root / "model"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    def checkpoint_folders(self) -> list[Path]:
        """Newest first."""
        return sorted(self.checkpoints.glob("step-*"), reverse=True)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"

    def drop_old_checkpoints(self, keep: int, *, spare: Path | None) -> None:
        """Delete those beyond the newest `keep`, but not the spared one."""
        for old in self.checkpoint_folders()[keep:]:
            if old != spare:
                shutil.rmtree(old, ignore_errors=True)

    def newest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose files are whole, or None."""
        return next((folder for folder in self.checkpoint_folders() if is_whole(folder)), None)

    def last_attempt(self) -> int:
        """Number of the last attempt in the metrics, 0 when there is none."""
        return max((row["attempt"] for row in read_metrics(self.metrics)), default=0)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of `metrics.jsonl`; a line that a crash cut short is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def save_checkpoint(
    run: RunFolder,
    trained: Mapping[str, nn.Module],
    optimizers: list[Optimizer],
    tokenizer: Tokenizer,
    *,
    state: dict[str, Any],
) -> Path:
    """Write one generation. Raises TrainingError on a full disk.

    A whole checkpoint of the same step is the same: it stays as it is.
    """
    final = run.checkpoint(state["step"])
    if is_whole(final):
        return final
    temporary = run.checkpoints / f".{final.name}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        model = trained[""]
        assert isinstance(model, Backbone)
        save_result(model, temporary, tokenizer=tokenizer)
        for prefix, module in _beside(trained).items():
            save_file(module.state_dict(), temporary / f"{prefix}{WEIGHTS}")
        tensors = {**optimizer_tensors(trained, optimizers), RNG_STATE: torch.get_rng_state()}
        save_file(tensors, temporary / OPTIMIZER)
        write_json(temporary / STATE, state)
        files = [path for path in sorted(temporary.iterdir()) if path.is_file()]
        for path in files:
            sync(path)
        write_json(temporary / MANIFEST, {path.name: sha256_file(path) for path in files})
        shutil.rmtree(final, ignore_errors=True)
        os.replace(temporary, final)
        sync(run.checkpoints)
    except (OSError, SafetensorError, ModelError) as exc:
        reason = exc.message if isinstance(exc, ModelError) else f"{exc} ({free_bytes(run.root) / 1e6:.1f} MB free)."
        shutil.rmtree(temporary, ignore_errors=True)
        raise TrainingError(
            f"The checkpoint of step {state['step']} could not be written: {reason}",
            "Free some space; earlier checkpoints are untouched and the run resumes with --resume.",
        ) from exc
    return final


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names has its hash."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(sha256_file(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def load_optimizers(folder: Path, trained: Mapping[str, nn.Module], optimizers: list[Optimizer]) -> None:
    """Restore what is trained beside the model itself, the optimisers' averages and torch's random state."""
    for prefix, module in _beside(trained).items():
        module.load_state_dict(load_file(folder / f"{prefix}{WEIGHTS}"))
    tensors = load_file(folder / OPTIMIZER)
    torch.set_rng_state(tensors.pop(RNG_STATE))
    load_optimizer_tensors(trained, optimizers, tensors)


def _beside(trained: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """What is trained beside the model itself, as PPO's value model."""
    return {prefix: module for prefix, module in trained.items() if prefix}


def read_state(folder: Path) -> dict[str, Any]:
    """The step and counters of a checkpoint that is whole."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state
