"""The form shows every option that a stage reads, and gives back the config."""

import dataclasses

import pytest

from core.config.schedule_config import ScheduleConfig
from core.config.train_config import TrainConfig
from studio.form import GROUPS, config_values, fields, form_values

STAGES = ("pt", "sft", "rm", "dpo", "ppo", "grpo")


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_of_a_stage_appears_once_and_no_other(stage: str) -> None:
    declared = [
        field.name
        for field in dataclasses.fields(TrainConfig)
        if not field.metadata["stages"] or stage in field.metadata["stages"]
    ]
    names = [field.name for field in fields(stage)]
    assert len(names) == len(set(names))
    assert set(names) == ({*declared} - {"stage", "schedule"}) | {
        f"schedule.{field.name}" for field in dataclasses.fields(ScheduleConfig)
    }
    assert {field.group for field in fields(stage)} <= {*GROUPS, "schedule"}
    assert all(field.help for field in fields(stage))


def test_a_field_carries_what_its_option_says() -> None:
    found = {field.name: field for field in fields("dpo")}
    beta, loss, steps = found["beta"], found["loss"], found["max_steps"]
    assert (beta.kind, beta.default, beta.minimum, beta.group) == ("float", 0.1, 1e-6, "preference")
    assert (loss.kind, loss.choices[0], loss.default) == ("choice", "sigmoid", "sigmoid")
    assert (steps.kind, steps.is_optional, steps.unit) == ("int", True, "steps")
    assert (found["data"].is_required, found["base"].is_required) == (True, False)
    assert (found["sample_prompts"].kind, found["model"].kind) == ("list", "dict")
    assert found["schedule.kind"].choices == ("cosine", "wsd", "linear", "constant", "sgdr")


@pytest.mark.parametrize("stage", STAGES)
def test_an_untouched_form_says_nothing(stage: str) -> None:
    assert config_values(stage, form_values({"stage": stage})) == {"stage": stage}


def test_a_filled_form_is_the_config() -> None:
    config = TrainConfig(
        stage="dpo", data="d", output="o", base="b", beta=0.2, adapter="lora", lora_rank=4, max_steps=9,
        schedule={"kind": "wsd", "decay_ratio": 0.3},
    )  # fmt: skip
    values = config_values("dpo", form_values(config.to_dict()))
    assert TrainConfig.from_dict(values) == config
    assert set(values) == {
        "stage", "data", "output", "base", "beta", "adapter", "lora_rank", "max_steps", "schedule"
    }  # fmt: skip
