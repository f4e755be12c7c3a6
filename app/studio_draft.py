"""A run that is being put together on the page: from files, a model and a preset to a config that is started."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from app.machine import graphics
from app.paths import starter_dir
from app.studio_values import KIND_NAMES, parsed, value_text
from core.config.model_config import PRESETS, ModelConfig
from core.config.train_config import TrainConfig
from core.errors import AssistantError, ConfigError, Sentence
from core.files import read_json_object
from core.model.folder import ADAPTER_CONFIG, find_model

if TYPE_CHECKING:
    from studio.datasets import DataReport
    from studio.form import FormField
    from studio.presets import Machine

STAGES = ("pt", "sft", "rm", "dpo", "grpo", "ppo")
PRESET_NAMES = ("quick", "balanced", "thorough")
# What data of a kind is mostly wanted for.
STAGE_OF_KIND = {"pt": "pt", "sft": "sft", "preference": "dpo"}
NOT_SET = "-"  # in the place of folders that the run gets when it is started
MAX_PROCESSES = 64
# Fields that have their own place on the page, or that the run itself sets.
FRESH_ONLY = ("preset", "model")
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

    @property
    def has_data(self) -> bool:
        return bool(self.paths or self.prepared)


def stage_for(report: "DataReport", stage: str) -> str:
    """The stage that the data suits: the one that is chosen if it does, else the usual one of its kind."""
    if stage in report.stages or report.kind is None:
        return stage
    return STAGE_OF_KIND.get(report.kind, stage)


def form_of(draft: Draft) -> "list[FormField]":
    """The fields of all settings, without those that have their own place."""
    from studio.form import fields

    hidden = (*OWN_PLACES, *(FRESH_ONLY if draft.base else ()))
    return [one for one in fields(draft.stage) if one.name not in hidden]


def preset_values(draft: Draft, report: "DataReport | None") -> dict[str, Any]:
    """What the preset says, as values of the form's fields. Raises: AssistantError for a model that cannot be read."""
    from studio.form import form_values
    from studio.presets import preset

    values = preset(
        draft.preset,
        draft.stage,
        shape=shape_of(draft.base),
        machine=machine(),
        report=report,
        is_fresh=not draft.base,
        is_quantized=is_quantized(draft.base),
    )
    return form_values({"stage": draft.stage, **values})


def config_of(draft: Draft, report: "DataReport | None") -> TrainConfig:
    """The config of the run, but for its folders. Raises: ConfigError with everything that is wrong."""
    from studio.form import config_values

    values = preset_values(draft, report)
    problems: list[str] = []
    known = {one.name: one for one in form_of(draft)}
    for name, text in draft.edits.items():
        if name in known:
            try:
                values[name] = parsed(known[name], text)
            except ValueError:
                wanted = KIND_NAMES.get(known[name].kind, "a value")
                problems.append(
                    Sentence("{name} is {value!r}, it must be {what}", name=name, value=text[:60], what=wanted)
                )
    plain = config_values(draft.stage, values) | {"data": draft.prepared or NOT_SET, "output": NOT_SET}
    plain |= {"base": draft.base} if draft.base else {}
    plain |= {"reward_model": draft.reward_model} if draft.reward_model and draft.stage in ("grpo", "ppo") else {}
    try:
        config = TrainConfig.from_dict(plain)
    except ConfigError as exc:
        problems += exc.problems
    if problems:
        raise ConfigError.of(problems, "Correct these settings.")
    return config


def preparation(draft: Draft) -> dict[str, Any] | None:
    """How the files become the run's data; None where it is prepared already."""
    if draft.prepared:
        return None
    tokenizer = draft.base or str(starter_dir())
    return {"paths": list(draft.paths), "tokenizer": tokenizer}


def shape_of(base: str) -> ModelConfig:
    """The shape of the model that is trained. Raises: AssistantError where its config cannot be read."""
    if not base:
        return PRESETS["starter"]
    return ModelConfig.from_hf(_description(base))


def is_quantized(base: str) -> bool:
    """Whether the weights are stored in fewer bits. Raises: AssistantError where its config cannot be read."""
    return bool(base) and "quantization_config" in _description(base)


def rounded_form(config: Mapping[str, Any]) -> str:
    """`int8` or `int4` where a run trains all weights of a model that is stored so, else empty."""
    base = config.get("base")
    if not isinstance(base, str) or not base or config.get("adapter", "none") != "none":
        return ""
    try:
        stored = _description(base).get("quantization_config")
    except AssistantError:
        return ""
    bits = stored.get("bits") if isinstance(stored, dict) else None
    return f"int{bits}" if bits in (4, 8) else ""


def _description(base: str) -> dict[str, Any]:
    """The config of a model, of an adapter that of the model beside it."""
    folder = find_model(base)
    adapter = folder / ADAPTER_CONFIG
    if adapter.exists() and not (folder / "config.json").exists():
        folder = find_model(str(read_json_object(adapter).get("base_model_name_or_path", "")))
    return read_json_object(folder / "config.json")


def machine() -> "Machine":
    """What a preset must know of this machine."""
    from studio.presets import Machine

    cards = graphics() if shutil.which("nvidia-smi") else []
    gpu_bytes = max((card["memory_mib"] << 20 for card in cards), default=0)
    return Machine(memory_bytes=psutil.virtual_memory().total, gpu_memory_bytes=gpu_bytes)


def default_name(stage: str, draft: Draft, report: "DataReport | None") -> str:
    """What a run is called where nobody says: its stage and its first file."""
    source = report.files[0].file if report and report.files else draft.prepared or next(iter(draft.paths), "")
    stem = Path(source).name.partition(".")[0]
    return f"{stage} · {stem}" if stem else stage


def duplicate(config: dict[str, Any], spec_prepare: dict[str, Any] | None, name: str, nproc: int) -> Draft:
    """The draft that would start the same run again."""
    from studio.form import fields, form_values

    stage = str(config.get("stage", "sft"))
    values = form_values(config)
    edits = {one.name: value_text(values.get(one.name)) for one in fields(stage) if one.name not in OWN_PLACES}
    paths = tuple(str(path) for path in (spec_prepare or {}).get("paths", ()))
    return Draft(
        paths=paths,
        prepared="" if paths else str(config.get("data", "")),
        base=str(config.get("base") or ""),
        reward_model=str(config.get("reward_model") or ""),
        stage=stage,
        edits=edits,
        name=name,
        nproc=nproc,
    )


def row_of(report: "DataReport | None", number: int) -> dict[str, Any] | str | None:
    """A row of the preview, from 1 on, as a record that the stages read; None where there is none."""
    if report is None or not report.preview:
        return None
    preview = report.preview[min(max(number, 1), len(report.preview)) - 1]
    if preview.kind == "pt":
        return "".join(text for _, text in preview.parts)
    answers = {role: text for role, text in preview.parts if role in ("chosen", "rejected")}
    messages = [{"role": role, "content": text} for role, text in preview.parts if role not in answers]
    return {"messages": messages, **answers}
