"""The models on this machine and which came from which."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelNode:
    """One model; `parent` is the path of the node that it was trained from, None for a root."""

    path: Path
    name: str
    stage: str | None  # of the training that made it; None for models from elsewhere
    parent: Path | None
    missing_parent: str | None  # where the parent lay that is not found any more
    num_parameters: int
    is_adapter: bool
    is_reward_model: bool
    job_id: str | None
    evaluations: tuple[dict[str, Any], ...]  # newest first, as `launch.py eval --json` gives them


def models(store: Any, models_dir: Path, starter_dir: Path) -> list[ModelNode]:
    """Every model, parents before their children."""
    raise NotImplementedError


def children(nodes: Sequence[ModelNode], parent: Path | None) -> list[ModelNode]:
    """The models that were trained from one, or the roots."""
    return [node for node in nodes if node.parent == parent]
