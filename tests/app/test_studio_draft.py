"""A new run from what was chosen on the page to its config."""

import json
from pathlib import Path

import pytest

from app.paths import starter_dir
from app.studio_draft import Draft, config_of, default_name, duplicate, preparation, row_of, stage_for
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError
from studio.datasets import DataReport, look_at
from studio.form import fields

pytestmark = pytest.mark.skipif(not starter_dir().is_dir(), reason="the starter's weights are not in the repository")
STARTER = str(starter_dir())


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"instruction": f"What is {n} plus {n}?", "output": f"It is {2 * n}."} for n in range(30)]
    path = tmp_path_factory.mktemp("data") / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def report(chats: Path) -> DataReport:
    return look_at([chats], tokenizer=Tokenizer.load(starter_dir()))


def draft(chats: Path, **changes: object) -> Draft:
    return Draft(**{"paths": (str(chats),), "base": STARTER, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["quick", "balanced", "thorough"])
def test_a_newcomers_choices_make_a_config_that_the_starter_can_be_trained_with(
    chats: Path, report: DataReport, name: str
) -> None:
    config = config_of(draft(chats, preset=name), report)
    assert (config.stage, config.base, config.adapter) == ("sft", STARTER, "lora")


@pytest.mark.parametrize("stage", ["pt", "sft", "dpo", "grpo"])
def test_every_stage_has_a_config_to_begin_with(chats: Path, report: DataReport, stage: str) -> None:
    reward = {"reward_model": STARTER} if stage == "grpo" else {}
    assert config_of(draft(chats, stage=stage, **reward), report).stage == stage


def test_a_reward_model_is_trained_from_a_quantised_model(chats: Path) -> None:
    config = config_of(draft(chats, stage="rm"), None)
    assert (config.stage, config.adapter, config.base) == ("rm", "none", STARTER)


def test_what_was_typed_wins_and_everything_wrong_is_said_at_once(chats: Path, report: DataReport) -> None:
    edited = {
        "max_steps": "7",
        "epochs": "1",
        "schedule.kind": "linear",
        "sample_prompts": '["Hi"]',
        "keep_best": "true",
    }
    config = config_of(draft(chats, edits=edited), report)
    assert (config.max_steps, config.schedule["kind"], config.sample_prompts) == (7, "linear", ["Hi"])
    assert config.keep_best
    wrong = {"max_steps": "many", "learning_rate": "-1", "mixture": "[1]", "nonsense": "1"}
    with pytest.raises(ConfigError) as problem:
        config_of(draft(chats, edits=wrong), report)
    for name in ("max_steps is 'many'", "learning_rate is -1", "mixture is '[1]'"):
        assert name in str(problem.value)


def test_the_data_decides_the_stage_unless_it_suits_the_one_that_is_chosen(report: DataReport) -> None:
    assert stage_for(report, "pt") == "pt"
    assert stage_for(report, "dpo") == "sft"


def test_files_are_prepared_with_the_tokenizer_of_the_model(chats: Path) -> None:
    assert preparation(draft(chats)) == {"paths": [str(chats)], "tokenizer": STARTER}
    assert preparation(Draft(prepared="data/pt", base="")) is None


def test_a_run_is_named_after_its_stage_and_file(chats: Path, report: DataReport) -> None:
    assert default_name("Fine-tuning", draft(chats), report) == "Fine-tuning · sums"
    assert default_name("Fine-tuning", Draft(), None) == "Fine-tuning"


def test_a_duplicate_starts_the_same_run(chats: Path, report: DataReport) -> None:
    config = config_of(draft(chats, edits={"max_steps": "9", "epochs": "1"}), report)
    again = duplicate(config.to_dict(), {"paths": [str(chats)]}, "name", 2)
    assert (again.paths, again.nproc, again.name) == ((str(chats),), 2, "name")
    assert config_of(again, None) == config
    prepared = duplicate(TrainConfig(stage="pt", data="data/pt", output="x").to_dict(), None, "n", 1)
    assert prepared.prepared == "data/pt"


def test_a_row_of_the_preview_is_a_record(report: DataReport) -> None:
    row = row_of(report, 2)
    assert isinstance(row, dict)
    assert [one["role"] for one in row["messages"]] == ["user", "assistant"]
    assert row_of(None, 1) is None


def test_every_field_of_every_form_is_explained_in_chinese() -> None:
    from app.studio_help import CHINESE_HELP

    names = {field.name for stage in ("pt", "sft", "rm", "dpo", "ppo", "grpo") for field in fields(stage)}
    assert names == set(CHINESE_HELP)
