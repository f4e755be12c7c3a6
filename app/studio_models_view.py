"""The models of this machine as a tree of who was trained from whom. Pure functions; names and paths are escaped."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.format import short_count
from app.i18n import t
from app.paths import starter_dir
from app.studio_parts import act_button
from app.studio_runs_view import STAGE_KEYS

if TYPE_CHECKING:
    from studio.model_registry import ModelNode

MAX_EVALUATIONS = 3


def tree_html(nodes: "Sequence[ModelNode]", language: str) -> str:
    """Every model below the one that it was trained from."""
    if not nodes:
        return f'<p class="empty">{t("no_models", language)}</p>'
    known = {node.path for node in nodes}
    below: dict[Path | None, list[ModelNode]] = {}
    for node in nodes:
        below.setdefault(node.parent if node.parent in known else None, []).append(node)
    return f'<div class="tree">{_level_html(below, None, language)}</div>'


def _level_html(below: "Mapping[Path | None, list[ModelNode]]", parent: Path | None, language: str) -> str:
    items = "".join(
        f"<li>{_node_html(node, language)}{_level_html(below, node.path, language)}</li>"
        for node in below.get(parent, [])
    )
    return f"<ul>{items}</ul>" if items else ""


def _node_html(node: "ModelNode", language: str) -> str:
    about = [t("model_parameters", language, count=short_count(node.num_parameters))] if node.num_parameters else []
    about += [t("model_adapter", language)] if node.is_adapter else []
    about += [t("model_starter", language)] if node.path == starter_dir() else []
    if node.missing_parent and node.path != starter_dir():
        about.append(t("model_missing_parent", language, path=html.escape(node.missing_parent)))
    stage = (
        f'<span class="badge stage {node.stage}">{t(f"stage_{node.stage}", language)}</span>'
        if node.stage in STAGE_KEYS
        else ""
    )
    path = html.escape(str(node.path))
    buttons = "".join(act_button(act, t(key, language), data={"model": node.path}) for act, key in _acts(node).items())
    evaluations = "".join(_evaluation_html(one) for one in node.evaluations[:MAX_EVALUATIONS])
    return (
        f'<div class="node" title="{path}"><div class="title">{stage}<b>{html.escape(node.name)}</b>'
        f'<span class="meta">{" · ".join(about)}</span></div>{evaluations}<div class="acts">{buttons}</div></div>'
    )


def _acts(node: "ModelNode") -> dict[str, str]:
    """What can be done with a model, and the text of its button."""
    if node.is_reward_model:
        return {"evaluate": "model_evaluate"}
    acts = {"chat": "act_chat", "train": "model_train", "evaluate": "model_evaluate"}
    acts |= {"merge": "model_merge"} if node.is_adapter else {}
    acts |= {} if node.is_quantized else {"export": "model_export", "quantize": "model_quantize"}
    return acts | ({} if node.path.suffix == ".gguf" else {"gguf": "model_gguf"})


def _evaluation_html(found: Mapping[str, Any]) -> str:
    """The figures of one evaluation: bits per byte of texts, shares of questions and pairs."""
    figures = [
        (row.get("file", ""), f"{row['bits_per_byte']:.3f} bits/byte")
        for row in found.get("results") or []
        if isinstance(row.get("bits_per_byte"), int | float)
    ]
    for name in ("choices", "pairs"):
        figures += [
            (row.get("file", ""), f"{row['accuracy']:.1%}")
            for row in found.get(name) or []
            if isinstance(row.get("accuracy"), int | float)
        ]
    cells = "".join(f"<span>{html.escape(str(file))} <b>{value}</b></span>" for file, value in figures)
    return f'<p class="evaluation">{cells}</p>' if cells else ""
