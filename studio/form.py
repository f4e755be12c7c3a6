"""The fields of a form for one stage of training, made from the config's own declarations.

A field of `TrainConfig` is declared once, with help, limits and unit; the form shows every one that the stage reads.
The options of the schedule are fields of their own, named `schedule.kind` and so on; `config_values` puts them back.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.config.adapter_options import AdapterOptions
from core.config.optimizer_options import OptimizerOptions
from core.config.parallel_options import ParallelOptions
from core.config.preference_options import PreferenceOptions
from core.config.rl_options import RLOptions
from core.config.run_options import RunOptions
from core.config.schedule_config import ScheduleConfig
from core.config.schema import REQUIRED, Config
from core.config.train_config import TrainConfig

SCHEDULE = "schedule"
# The groups of a form in its order, and the declarations of each.
GROUPS: dict[str, type] = {
    "run": RunOptions,
    "optimizer": OptimizerOptions,
    "adapter": AdapterOptions,
    "preference": PreferenceOptions,
    "rl": RLOptions,
    "parallel": ParallelOptions,
}


@dataclass(frozen=True, slots=True)
class FormField:
    """One field: `kind` is bool, int, float, str, list, dict or choice."""

    name: str
    kind: str
    default: Any
    help: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    unit: str
    group: str
    is_optional: bool  # may be left empty
    is_required: bool  # has no default


def fields(stage: str) -> list[FormField]:
    """Every field that a stage reads, in the order in which the config declares them, group by group."""
    elsewhere = ("stage", SCHEDULE)
    ours = [field for field in dataclasses.fields(TrainConfig) if _is_of(field, stage) and field.name not in elsewhere]
    found = []
    for group, declarations in GROUPS.items():
        names = declarations.__annotations__
        found += [_form_field(TrainConfig, field, group) for field in ours if field.name in names]
        if SCHEDULE in names:
            found += [
                dataclasses.replace(_form_field(ScheduleConfig, field, SCHEDULE), name=f"{SCHEDULE}.{field.name}")
                for field in dataclasses.fields(ScheduleConfig)
            ]
    return found


def config_values(stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a filled form says as values for `TrainConfig.from_dict`: what is empty or at its default is left out.

    A field at its default never conflicts with another, so a choice that is taken back leaves nothing behind.
    """
    plain: dict[str, Any] = {"stage": stage}
    schedule: dict[str, Any] = {}
    for field in fields(stage):
        value = values.get(field.name)
        if value is None or value == "" or (value == field.default and not field.is_required):
            continue
        group, _, option = field.name.partition(".")
        if group == SCHEDULE:
            schedule[option] = value
        else:
            plain[field.name] = value
    return plain | ({SCHEDULE: schedule} if schedule else {})


def form_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse: a config's plain data as values of the form's fields, defaults where it says nothing."""
    values = {field.name: field.default for field in fields(str(config.get("stage", "pt")))}
    schedule = config.get(SCHEDULE) or {}
    values |= {name: value for name, value in config.items() if name in values}
    return values | {f"{SCHEDULE}.{name}": value for name, value in schedule.items() if f"{SCHEDULE}.{name}" in values}


def _is_of(field: "dataclasses.Field[Any]", stage: str) -> bool:
    stages = field.metadata["stages"]
    return not stages or stage in stages


def _form_field(config_class: type[Config], field: "dataclasses.Field[Any]", group: str) -> FormField:
    hint = typing.get_type_hints(config_class)[field.name]
    is_optional = isinstance(hint, types.UnionType)
    if is_optional:
        hint = next(part for part in typing.get_args(hint) if part is not type(None))
    metadata = field.metadata
    made = field.default_factory is not REQUIRED
    default = field.default_factory() if callable(field.default_factory) else field.default
    return FormField(
        name=field.name,
        kind="choice" if metadata["choices"] else (typing.get_origin(hint) or hint).__name__,
        default=None if default is REQUIRED and not made else default,
        help=metadata["help"],
        minimum=metadata["minimum"],
        maximum=metadata["maximum"],
        choices=metadata["choices"] or (),
        unit=metadata["unit"],
        group=group,
        is_optional=is_optional,
        is_required=default is REQUIRED and not made,
    )
