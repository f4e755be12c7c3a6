"""A run that is being put together on the page: from files, a model and a preset to a config that is started."""

import ast
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from app.machine import graphics
from app.paths import starter_dir
from core.config.model_config import PRESETS, ModelConfig
from core.config.train_config import TrainConfig
from core.errors import AssistantError, ConfigError

if TYPE_CHECKING:
    from studio.datasets import DataReport
    from studio.form import FormField

STAGES = ("pt", "sft", "rm", "dpo", "grpo", "ppo")
PRESET_NAMES = ("quick", "balanced", "thorough")
# What data of a kind is mostly wanted for.
STAGE_OF_KIND = {"pt": "pt", "sft": "sft", "preference": "dpo"}
NOT_SET = "-"  # in the place of folders that the run gets when it is started
MAX_PROCESSES = 64
# Fields that have their own place on the page, or that the run itself sets.
OWN_PLACES = ("data", "output", "base", "reward_model")


@dataclass(frozen=True, slots=True)
class Draft:
    """What was chosen so far. `prepared` is a folder of tokens that is taken as it is, in place of `paths`."""

    paths: tuple[str, ...] = ()
    prepared: str = ""
    base: str = ""
    reward_model: str = ""
    stage: str = "sft"
    preset: str = "balanced"
    edits: dict[str, str] = field(default_factory=dict)
    name: str = ""
    nproc: int = 1


def stage_for(report: "DataReport", stage: str) -> str:
    """The stage that the data suits: the one that is chosen if it does, else the usual one of its kind."""
    if stage in report.stages or report.kind is None:
        return stage
    return STAGE_OF_KIND.get(report.kind, stage)


def form_of(draft: Draft) -> "list[FormField]":
    """The fields of all settings, without those that have their own place."""
    from studio.form import fields

    return [one for one in fields(draft.stage) if one.name not in OWN_PLACES]


def preset_values(draft: Draft, report: "DataReport | None") -> dict[str, Any]:
    """What the preset says, as values of the form's fields. Raises: AssistantError for a model that cannot be read."""
    from studio.form import form_values
    from studio.presets import preset

    values = preset(draft.preset, draft.stage, shape=shape_of(draft.base), machine=machine(), report=report)
    return form_values({"stage": draft.stage, **values})


def config_of(draft: Draft, report: "DataReport | None") -> TrainConfig:
    """The config of the run, but for its folders. Raises: ConfigError with everything that is wrong."""
    from studio.form import config_values

    values, problems = preset_values(draft, report), []
    known = {one.name: one for one in form_of(draft)}
    for name, text in draft.edits.items():
        if name in known:
            try:
                values[name] = parsed(known[name], text)
            except ValueError:
                problems.append(f"{name} is {text[:60]!r}, it must be {KIND_NAMES.get(known[name].kind, 'a value')}")
    plain = config_values(draft.stage, values) | {"data": draft.prepared or NOT_SET, "output": NOT_SET}
    plain |= {"base": draft.base} if draft.base else {}
    plain |= {"reward_model": draft.reward_model} if draft.reward_model and draft.stage in ("grpo", "ppo") else {}
    try:
        config = TrainConfig.from_dict(plain)
    except ConfigError as exc:
        problems += exc.message.removesuffix(".").split("; ")
    if problems:
        raise ConfigError("; ".join(problems) + ".", "Correct these settings.")
    return config


KIND_NAMES = {"int": "a whole number", "float": "a number", "list": "a JSON list", "dict": "a JSON object"}


def parsed(form_field: "FormField", text: str) -> Any:
    """A value from what was typed; an empty text leaves the field out. Raises: ValueError."""
    if text.strip() == "":
        return None
    kind = form_field.kind
    if kind == "bool":
        return text == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind in ("list", "dict"):
        value = json.loads(text)
        if not isinstance(value, list if kind == "list" else dict):
            raise ValueError
        return value
    return text.strip()


def preparation(draft: Draft) -> dict[str, Any] | None:
    """How the files become the run's data; None where it is prepared already."""
    if draft.prepared:
        return None
    tokenizer = draft.base or str(starter_dir())
    return {"paths": list(draft.paths), "tokenizer": tokenizer}


def shape_of(base: str) -> ModelConfig:
    """The shape of the model that is trained. Raises: AssistantError where its config cannot be read."""
    from core.model.folder import find_model

    if not base:
        return PRESETS["starter"]
    folder = find_model(base)
    try:
        return ModelConfig.from_json(folder / "config.json")
    except AssistantError:
        raise
    except OSError as exc:
        raise ConfigError(f"{base} cannot be read: {exc}.", "Choose another model.") from exc
