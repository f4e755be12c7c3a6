"""A run on disk: its config, its metrics and its checkpoints.

    run/config.json                     the TrainConfig
    run/metrics.jsonl                   one row per logged step, keyed by (attempt, step)
    run/samples.jsonl, run/tensorboard  by option: texts written on the way, event files
    run/checkpoints/step-00000400/      a model folder, optimizer.safetensors, state.json, manifest.json;
                                        weights and averages in shards where FSDP2 has shared them out
    run/model/                          the result, a model folder; written when the last step is done

A checkpoint is written under a temporary name, flushed, hashed into its manifest and renamed. The
newest one whose hashes agree is what a resume takes.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError, Sentence, TrainingError
from core.files import make_folder, sha256_file, sync, write_json
from core.model.checkpoint import free_bytes, save_description, weights_of
from core.model.shards import open_shards
from core.model.transformer import Backbone
from core.model.weight_files import SHARDS
from core.parallel.setup import Ranks
from core.parallel.sharded import read_like, write_index, write_part
from core.parallel.wrap import is_dtensor
from core.trainer.parameters import save_result

OPTIMIZER = "optimizer"
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
    def lock(self) -> Path:
        return self.root / ".lock"

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
        """Delete those beyond the newest `keep` whole ones, and torn ones, but not the spared one."""
        num_kept = 0
        for folder in self.checkpoint_folders():
            if num_kept < keep and is_whole(folder):
                num_kept += 1
            elif folder != spare:
                shutil.rmtree(folder, ignore_errors=True)

    def newest_checkpoint(self) -> Path | None:
        """The newest checkpoint whose files are whole, or None."""
        return next((folder for folder in self.checkpoint_folders() if is_whole(folder)), None)

    def holds_another(self, config: TrainConfig) -> bool:
        """Whether a run that is not this one, as whoever starts the ranks wrote it down, has begun here."""
        if self.checkpoint_folders() or self.metrics.exists():
            return True
        return self.config.exists() and TrainConfig.from_json(self.config) != config

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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a checkpoint holds: the model, its tokenizer, modules beside it, the optimisers' tensors, plain data."""

    model: Backbone
    tokenizer: Tokenizer
    beside: Mapping[str, nn.Module]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Any]


def save_checkpoint(run: RunFolder, snapshot: Snapshot, ranks: Ranks) -> Path:
    """Write one generation, all ranks together.

    A whole checkpoint of the same step is the same: it stays as it is.
    Raises: TrainingError, on every rank, when the disk of one of them is full.
    """
    final = run.checkpoint(snapshot.state["step"])
    if ranks.from_first(int(ranks.is_first and is_whole(final))):
        return final
    temporary = run.checkpoints / f".{final.name}.tmp"
    _agree(run, snapshot, ranks, lambda: _make_empty(temporary, ranks))
    is_sharded = any(is_dtensor(parameter) for parameter in snapshot.model.parameters())
    write = _write_part if is_sharded else _write_whole
    _agree(run, snapshot, ranks, lambda: write(snapshot, temporary, ranks))
    _agree(run, snapshot, ranks, lambda: _finish(snapshot, temporary, final, ranks))
    return final


def _agree(run: RunFolder, snapshot: Snapshot, ranks: Ranks, write: Callable[[], None]) -> None:
    """Take one step of writing on every rank; raise TrainingError on all when it fails on one."""
    problem = None
    try:
        write()
    except (OSError, SafetensorError, ModelError) as exc:
        free_mb = free_bytes(run.root) / 1e6
        if isinstance(exc, ModelError):
            problem = exc.whole
        else:
            problem = Sentence("{reason} ({free:.1f} MB free).", reason=str(exc), free=free_mb)
    if (first := ranks.first_problem(problem)) is None:
        return
    step = snapshot.state["step"]
    if ranks.is_first:
        shutil.rmtree(run.checkpoints / f".{run.checkpoint(step).name}.tmp", ignore_errors=True)
    raise TrainingError(
        "The checkpoint of step {step} could not be written: {reason}",
        "Free some space; earlier checkpoints are untouched and the run resumes with --resume.",
        kind="disk_full",
        step=step,
        reason=first,
    )


def _make_empty(folder: Path, ranks: Ranks) -> None:
    if ranks.is_first:
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)


def _write_whole(snapshot: Snapshot, folder: Path, ranks: Ranks) -> None:
    if ranks.is_first:
        save_result(snapshot.model, folder, tokenizer=snapshot.tokenizer)
        for name, module in snapshot.beside.items():
            save_file(module.state_dict(), folder / f"{name}.safetensors")
        save_file(dict(snapshot.optimizer), folder / f"{OPTIMIZER}.safetensors")


def _write_part(snapshot: Snapshot, folder: Path, ranks: Ranks) -> None:
    write_part(weights_of(snapshot.model), folder, SHARDS, ranks)
    for name, module in snapshot.beside.items():
        write_part(module.state_dict(), folder, name, ranks)
    write_part(snapshot.optimizer, folder, OPTIMIZER, ranks)


def _finish(snapshot: Snapshot, temporary: Path, final: Path, ranks: Ranks) -> None:
    """Index the shards, describe the folder and give it its name."""
    if not ranks.is_first:
        return
    if not (temporary / f"{OPTIMIZER}.safetensors").exists():
        for name in (SHARDS, *snapshot.beside, OPTIMIZER):
            write_index(temporary, name, ranks.world_size)
        save_description(snapshot.model, temporary, tokenizer=snapshot.tokenizer)
    write_json(temporary / STATE, snapshot.state)
    files = [path for path in sorted(temporary.iterdir()) if path.is_file()]
    for path in files:
        sync(path)
    write_json(temporary / MANIFEST, {path.name: sha256_file(path) for path in files})
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync(final.parent)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(checkpoint.name.removeprefix("step-"))


def is_whole(folder: Path) -> bool:
    """Whether every file that the manifest names has its hash."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all(sha256_file(folder / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def load_beside_(folder: Path, modules: Mapping[str, nn.Module], ranks: Ranks) -> None:
    """Restore what is trained beside the model itself."""
    for name, module in modules.items():
        stored = open_shards(folder, name)
        with torch.no_grad():
            for key, tensor in module.state_dict().items():
                tensor.copy_(read_like(tensor, stored[key], ranks))


def read_state(folder: Path) -> dict[str, Any]:
    """The step and counters of a checkpoint that is whole."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state
