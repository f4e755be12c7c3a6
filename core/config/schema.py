"""Configs as plain frozen dataclasses: one place for default, help text and limits.

A config class is `@dataclass(frozen=True, kw_only=True, slots=True)` and derives from `Config`. Its
fields are made with `option(...)`, which feeds the command line, the studio's form and the docs.
Values are plain data (bool, int, float, str, list, dict, None), so the JSON on disk is the config.
"""

import dataclasses
import difflib
import json
import math
import types
import typing
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from core.errors import ConfigError, Sentence
from core.files import read_json_object

REQUIRED = dataclasses.MISSING


def option(  # noqa: PLR0913 - one declaration per field, by keyword
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    unit: str = "",
    stages: tuple[str, ...] | None = None,
) -> Any:
    """Declare one field of a config. `default` may be a list or dict (copied) or REQUIRED.

    `stages` are those of training that the field belongs to; without any it belongs to all.
    """
    limits = {"minimum": minimum, "maximum": maximum, "choices": choices}
    metadata = {"help": help, **limits, "unit": unit, "stages": stages}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Base of all configs: strict reading, whole-config validation, JSON round trip."""

    def __post_init__(self) -> None:
        problems = _field_problems(self) or self.conflicts()
        if problems:
            raise ConfigError.of(problems, "Correct these settings.")

    def conflicts(self) -> list[str]:
        """Checks across fields. Each string names the two settings and both values."""
        return []

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain data; an unknown key or bad value lists all problems at once."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        problems = [unknown_name_message(key, list(fields)) for key in values if key not in fields]
        problems += [
            Sentence("{name} is required ({help})", name=name, help=field.metadata["help"])
            for name, field in fields.items()
            if name not in values and _is_required(field)
        ]
        problems += _value_problems(cls, values)
        if problems:
            raise ConfigError.of(problems, f"Correct these settings of {cls.__name__}.")
        return cls(**values)

    @classmethod
    def from_json(cls, path: Path) -> Self:
        """Read a JSON file. Raises ConfigError naming the file when it is not valid."""
        return cls.from_dict(read_json_object(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` of it is this config."""
        return dataclasses.asdict(self)


def unknown_name_message(name: str, known: list[str]) -> str:
    """`no option "lr": did you mean "learning_rate"?`"""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return Sentence('no option "{name}": did you mean "{near}"?', name=name, near=near[0])
    return Sentence('no option "{name}" (there are: {known})', name=name, known=", ".join(known))


def add_options(parser: ArgumentParser, config_class: type[Config]) -> None:
    """Add one `--flag` per field; unset flags stay out of the namespace (see `given_options`)."""
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        flag = "--" + field.name.replace("_", "-")
        kind = _plain_type(hints[field.name])
        text = _help_text(field).replace("%", "%%")
        if kind is bool:
            parser.add_argument(flag, action=BooleanOptionalAction, default=SUPPRESS, help=text)
        elif kind is list:
            entry = typing.get_args(hints[field.name])[0]
            parser.add_argument(flag, nargs="+", type=entry, default=SUPPRESS, metavar=_METAVARS[entry], help=text)
        elif kind is dict:
            parser.add_argument(flag, type=_json_value, default=SUPPRESS, metavar="JSON", help=text)
        else:
            choices = field.metadata["choices"]
            metavar = None if choices else _METAVARS[kind]
            parser.add_argument(flag, type=kind, default=SUPPRESS, choices=choices, metavar=metavar, help=text)


def given_options(namespace: Namespace, config_class: type[Config]) -> dict[str, Any]:
    """The fields that the command line set, as plain data for `from_dict`."""
    names = {field.name for field in dataclasses.fields(config_class)}
    return {key: value for key, value in vars(namespace).items() if key in names}


_METAVARS = {int: "N", float: "X", str: "TEXT"}


def _json_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"{text!r} is not JSON ({exc})") from exc


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is REQUIRED and field.default_factory is REQUIRED


def _help_text(field: dataclasses.Field[Any]) -> str:
    unit = f" {field.metadata['unit']}" if field.metadata["unit"] else ""
    if _is_required(field):
        return f"{field.metadata['help']} (required)"
    if field.default in (None, REQUIRED):
        return field.metadata["help"]
    default = f"{field.default:g}" if isinstance(field.default, float) else field.default
    return f"{field.metadata['help']} (default {default}{unit})"


def _plain_type(hint: Any) -> type:
    """`int | None` -> int, `list[str]` -> list."""
    if isinstance(hint, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return typing.get_origin(hint) or hint


def _field_problems(config: Config) -> list[str]:
    values = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return _value_problems(type(config), values)


def _value_problems(config_class: type[Config], values: Mapping[str, Any]) -> list[str]:
    hints = typing.get_type_hints(config_class)
    problems: list[str] = []
    for field in dataclasses.fields(config_class):
        if field.name in values:
            problem = _problem(field, hints[field.name], values[field.name])
            if problem:
                problems.append(problem)
    return problems


def _problem(field: dataclasses.Field[Any], hint: Any, value: Any) -> str | None:
    if value is None:
        allowed = type(None) in typing.get_args(hint)
        return None if allowed else Sentence("{name} is empty, it needs a value", name=field.name)
    kind = _plain_type(hint)
    accepted: Callable[[Any], bool] = {
        bool: lambda v: isinstance(v, bool),
        int: lambda v: isinstance(v, int) and not isinstance(v, bool),
        float: lambda v: isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v),
    }.get(kind, lambda v: isinstance(v, kind))
    if not accepted(value):
        return Sentence("{name} is {value!r}, it must be {kind}", name=field.name, value=value, kind=kind.__name__)
    low, high, choices = (field.metadata.get(key) for key in ("minimum", "maximum", "choices"))
    if low is not None and value < low:
        return Sentence("{name} is {value}, the minimum is {low}", name=field.name, value=value, low=low)
    if high is not None and value > high:
        return Sentence("{name} is {value}, the maximum is {high}", name=field.name, value=value, high=high)
    if choices is not None and value not in choices:
        known = ", ".join(choices)
        return Sentence("{name} is {value!r}, it must be one of {known}", name=field.name, value=value, known=known)
    return None
