"""The models on this machine and which came from which: the tree PT → SFT → RM → DPO with the evaluations of each.

A model that was trained here notes its stage, where its parent lay and the hash of the parent's weights. A parent that
was moved is found by that hash, and one that was replaced by another model is not taken for it. Hashing reads every
byte, so hashes are kept beside the jobs, and a call makes as many as it has time for, none of models of more than
HASHED_AT_ONCE_BYTES; where a hash is not known the path is believed.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from core.config.model_config import ModelConfig
from core.errors import AssistantError
from core.files import read_json_object, write_json
from core.model.folder import ADAPTER_CONFIG, CONFIG, find_model, is_adapter, is_reward_model
from core.model.weight_files import weight_files, weights_hash
from studio.job_folder import Job, JobFolder
from studio.job_store import JobStore

HASHES = "model-hashes.json"
HASH_SECONDS = 1.0
# A file of this size takes about that long.
HASHED_AT_ONCE_BYTES = 1 << 30
GGUF_FILE = "model.gguf"  # of a job that wrote a model as one file
RESULT, TAIL_BYTES = "result.json", 1 << 20
ORIGIN = "astrai"


@dataclass(frozen=True, slots=True)
class ModelNode:
    """One model; `parent` is the path of the node that it was trained from, None for one that is not here."""

    path: Path
    name: str
    stage: str | None  # of the training that made it; None for models from elsewhere
    parent: Path | None
    missing_parent: str | None  # where a parent lay that is not found any more
    num_parameters: int  # of an adapter those of its base; 0 where the config does not say
    num_steps: int
    num_tokens: int  # that it was trained on in its stage
    is_adapter: bool
    is_reward_model: bool
    is_quantized: bool
    job_id: str | None
    evaluations: tuple[dict[str, Any], ...]  # newest first, as `launch.py eval --json` gives them, with "time"


def models(store: JobStore, models_dir: Path, starter_dir: Path) -> list[ModelNode]:
    """Every model that can be read, parents before their children."""
    jobs = store.jobs()
    found: dict[Path, ModelNode] = {}
    origins: dict[Path, dict[str, Any]] = {}
    pending = [*_places(jobs, models_dir, starter_dir)]
    while pending:
        place, name, job_id = pending.pop(0)
        try:
            path = find_model(place)
            origin = _origin(path)
            node = None if path.resolve() in found else _node(path, name, job_id, origin)
        except (AssistantError, OSError):
            continue
        if node is not None:
            found[path.resolve()], origins[path.resolve()] = node, origin
            base = _base(path, origin)
            if base and Path(base).exists():  # a model from elsewhere that something was trained from
                pending.append((Path(base), Path(base).name, None))
    with _Hashes(store.root / HASHES) as hashes:
        linked = {key: _linked(node, key, origins[key], found, hashes) for key, node in found.items()}
    scores = list(_evaluations(jobs))
    nodes = [replace(node, evaluations=_of(node, scores)) for node in linked.values()]
    return list(_in_order(nodes))


def children(nodes: Sequence[ModelNode], parent: Path | None) -> list[ModelNode]:
    """The models that were trained from one; for None the roots."""
    return [node for node in nodes if node.parent == parent]


def _places(jobs: Sequence[Job], models_dir: Path, starter_dir: Path) -> Iterator[tuple[Path, str, str | None]]:
    """Where models may be: (path, name, job)."""
    for job in jobs:
        if any((job.folder / "model" / name).exists() for name in (CONFIG, ADAPTER_CONFIG)):
            yield job.folder / "model", job.name, job.id
        elif (job.folder / GGUF_FILE).exists():
            yield job.folder / GGUF_FILE, job.name, job.id
    if models_dir.is_dir():
        yield from ((path, path.name, None) for path in sorted(models_dir.iterdir()) if not path.name.startswith("."))
    yield starter_dir, starter_dir.name, None


def _node(path: Path, name: str, job_id: str | None, origin: Mapping[str, Any]) -> ModelNode | None:
    """A model without its family; None for a folder that holds none, as that of a run that has no result yet."""
    if path.is_dir() and not any(path.glob("*.safetensors")):
        return None
    stage = origin.get("stage")
    return ModelNode(
        path=path,
        name=name,
        stage=stage if isinstance(stage, str) else None,
        parent=None,
        missing_parent=None,
        num_parameters=_num_parameters(path),
        num_steps=_count(origin, "steps"),
        num_tokens=_count(origin, "tokens"),
        is_adapter=is_adapter(path),
        is_reward_model=is_reward_model(path),
        is_quantized="quantization_config" in _settings(path),
        job_id=job_id,
        evaluations=(),
    )


def _count(origin: Mapping[str, Any], name: str) -> int:
    value = origin.get(name)
    return value if isinstance(value, int) else 0


def _settings(path: Path) -> dict[str, Any]:
    return {} if path.is_file() else read_json_object(path / (ADAPTER_CONFIG if is_adapter(path) else CONFIG))


def _origin(path: Path) -> dict[str, Any]:
    """What the training that made a model noted in it."""
    origin = _settings(path).get(ORIGIN)
    return origin if isinstance(origin, dict) else {}


def _base(path: Path, origin: Mapping[str, Any]) -> str | None:
    """Where the parent lay."""
    base = origin.get("base") or (_settings(path).get("base_model_name_or_path") if is_adapter(path) else None)
    return base if isinstance(base, str) and base else None


def _num_parameters(path: Path) -> int:
    try:
        if is_adapter(path):
            return _num_parameters(find_model(str(_settings(path).get("base_model_name_or_path"))))
        return 0 if path.is_file() else ModelConfig.from_hf(_settings(path)).num_parameters
    except (AssistantError, OSError, RecursionError):
        return 0


def _linked(
    node: ModelNode, key: Path, origin: Mapping[str, Any], found: Mapping[Path, ModelNode], hashes: "_Hashes"
) -> ModelNode:
    """The node with its parent, found by path and hash, by hash alone, or missing."""
    base = _base(node.path, origin)
    if base is None:
        return node
    wanted = origin.get("parent_hash") or origin.get("base_weights_hash")
    try:
        place = find_model(base).resolve()
    except (AssistantError, OSError):
        place = None
    if place is not None and place in found and place != key and (not wanted or hashes.of(place) in (wanted, None)):
        return replace(node, parent=found[place].path)
    for other in found if wanted else ():
        if other != key and hashes.of(other) == wanted:
            return replace(node, parent=found[other].path)
    return replace(node, missing_parent=base)


class _Hashes:
    """Hashes of models' weights, remembered as long as their files stay as they are."""

    def __init__(self, path: Path) -> None:
        self._path, self._deadline = path, time.monotonic() + HASH_SECONDS
        try:
            self._known = read_json_object(path) if path.exists() else {}
        except AssistantError:
            self._known = {}
        self._changed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._changed:
            write_json(self._path, self._known)

    def of(self, path: Path) -> str | None:
        """The hash of a model's weights; None while nobody had the time to make it, or where they cannot be read."""
        try:
            files = [path] if path.is_file() else [path / ADAPTER_CONFIG] if is_adapter(path) else weight_files(path)
            sizes = [file.stat().st_size for file in files]
            state = [[file.name, size, file.stat().st_mtime_ns] for file, size in zip(files, sizes, strict=True)]
            known = self._known.get(str(path))
            if isinstance(known, dict) and known.get("files") == state:
                return str(known.get("hash"))
            if time.monotonic() >= self._deadline or sum(sizes) > HASHED_AT_ONCE_BYTES:
                return None
            self._known[str(path)] = {"files": state, "hash": weights_hash(path)}
        except (AssistantError, OSError):
            return None
        self._changed = True
        return str(self._known[str(path)]["hash"])


def _evaluations(jobs: Sequence[Job]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """(model, result) of every evaluation that has one, newest first."""
    for job in jobs:
        of = job.spec.metadata.get("of")
        if job.spec.kind == "evaluate" and isinstance(of, str) and of:
            result = result_of(job.folder)
            if result:
                yield Path(of).resolve(), {**result, "time": job.ended, "job_id": job.id}


def result_of(folder: Path) -> dict[str, Any]:
    """What `eval` found: its file, or the JSON on the last line of what it printed."""
    try:
        if (folder / RESULT).exists():
            return read_json_object(folder / RESULT)
        with JobFolder(folder).stdout.open("rb") as file:
            file.seek(max(JobFolder(folder).stdout.stat().st_size - TAIL_BYTES, 0))
            value = json.loads(file.read().decode("utf-8", "replace").strip().splitlines()[-1])
    except (AssistantError, OSError, ValueError, IndexError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _of(node: ModelNode, scores: Sequence[tuple[Path, dict[str, Any]]]) -> tuple[dict[str, Any], ...]:
    """The evaluations of a model, named by its own folder or its run's."""
    places = {node.path.resolve()} | ({node.path.resolve().parent} if node.path.name == "model" else set())
    return tuple(score for path, score in scores if path in places)


def _in_order(nodes: Sequence[ModelNode]) -> Iterator[ModelNode]:
    """Parents, then their children; a ring, which only a forged config makes, comes last."""
    told: set[Path] = set()
    left = list(nodes)
    while left:
        ready = [node for node in left if node.parent is None or node.parent in told] or left[:]
        yield from ready
        told |= {node.path for node in ready}
        left = [node for node in left if node.path not in told]
