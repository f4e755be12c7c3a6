"""Strict configs: every problem at once, nearest names, command-line flags from the fields."""

import json
from argparse import ArgumentParser
from pathlib import Path

import pytest

from core.config.model_config import PRESETS, ModelConfig
from core.config.param_config import SamplingConfig
from core.config.schema import add_options, given_options
from core.config.train_config import TrainConfig
from core.errors import ConfigError, ModelError


def test_all_problems_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict({"lr": 1, "learning_rate": -1.0, "stage": "ptt", "seed": "x"})
    message = caught.value.message
    for part in ('no option "lr"', "learning_rate is -1.0", "stage is 'ptt'", "seed is 'x'", "data is required"):
        assert part in message


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match='did you mean "temperature"'):
        SamplingConfig.from_dict({"temprature": 1.0})


def test_conflicting_settings_name_both_values_and_a_remedy() -> None:
    with pytest.raises(ConfigError, match=r"global_batch_size 100 .* micro_batch_size 48: use 96 or 144"):
        TrainConfig(data="d", output="o", global_batch_size=100, micro_batch_size=48)


def test_a_misspelt_field_of_the_schedule_is_found_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match='schedule: no option "warm_up": did you mean "warmup_ratio"'):
        TrainConfig(data="d", output="o", schedule={"warm_up": 0.1})


def test_infinity_is_refused() -> None:
    with pytest.raises(ConfigError, match="learning_rate is inf"):
        TrainConfig(data="d", output="o", learning_rate=float("inf"))


def test_help_says_defaults_with_their_unit_and_nothing_where_there_is_none() -> None:
    parser = ArgumentParser()
    add_options(parser, TrainConfig)
    texts = {action.dest: action.help for action in parser._actions}
    assert texts["checkpoint_interval_s"] == "time between checkpoints; 0 saves after every step (default 300 s)"
    assert texts["data"] == "folder that `prepare` wrote (required)"
    assert str(texts["base"]).endswith("without it the weights are fresh")


def test_json_on_the_command_line_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    add_options(parser, TrainConfig)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--schedule", "{kind: wsd}"])
    assert "argument --schedule: '{kind: wsd}' is not JSON" in capsys.readouterr().err


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature is nan"):
        SamplingConfig(temperature=float("nan"))


def test_json_round_trip_is_the_config(tmp_path: Path) -> None:
    config = TrainConfig(data="d", output="o", schedule={"kind": "wsd"})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    assert TrainConfig.from_json(path) == config


def test_broken_json_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.json is not readable JSON"):
        TrainConfig.from_json(path)


def test_json_of_absurd_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.files.MAX_READ_BYTES", 10)
    path = tmp_path / "large.json"
    path.write_text('{"data": "d"}')
    with pytest.raises(ConfigError, match=r"large\.json is 13 bytes, at most 10 make sense"):
        TrainConfig.from_json(path)


def test_command_line_flags_come_from_the_fields() -> None:
    parser = ArgumentParser()
    add_options(parser, TrainConfig)
    arguments = parser.parse_args(["--stage", "sft", "--learning-rate", "0.01", "--model", '{"hidden_size": 32}'])
    expected = {"stage": "sft", "learning_rate": 0.01, "model": {"hidden_size": 32}}
    assert given_options(arguments, TrainConfig) == expected
    assert "peak learning rate" in parser.format_help()


def test_foreign_model_family_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="'gpt2' is not supported"):
        ModelConfig.from_hf({"model_type": "gpt2"})


def test_presets_round_trip_through_config_json() -> None:
    for preset in PRESETS.values():
        assert ModelConfig.from_hf(preset.to_hf()) == preset


def test_lists_and_objects_of_sampling_come_from_the_command_line_as_what_they_hold() -> None:
    parser = ArgumentParser()
    add_options(parser, SamplingConfig)
    line = ["--stop", "a", "b", "--stop-ids", "1", "2", "--logit-bias", '{"7": -100}', "--json-schema", "{}"]
    values = given_options(parser.parse_args(line), SamplingConfig)
    assert values == {"stop": ["a", "b"], "stop_ids": [1, 2], "logit_bias": {"7": -100}, "json_schema": {}}
    config = SamplingConfig.from_dict(values)
    assert SamplingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_list_entry_of_the_wrong_kind_is_named_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parser = ArgumentParser()
    add_options(parser, SamplingConfig)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--stop-ids", "x"])
    assert "argument --stop-ids: invalid int value: 'x'" in capsys.readouterr().err
