"""Presets are configs that the trainer takes, and fit what they are made for."""

import itertools
from pathlib import Path

import pytest

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.files import write_json
from studio.datasets import look_at
from studio.form import config_values, form_values
from studio.presets import NAMES, Machine, preset

LAPTOP, SERVER = Machine(memory_bytes=8 << 30), Machine(memory_bytes=128 << 30, gpu_memory_bytes=80 << 30)
STAGES = ("pt", "sft", "rm", "dpo", "ppo", "grpo")
PLACES = {"data": "data", "output": "run"}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_a_config_without_conflicts(name: str, stage: str) -> None:
    for shape, machine in itertools.product((PRESETS["tiny"], PRESETS["1b"]), (LAPTOP, SERVER)):
        for flags in ({}, {"is_quantized": stage != "rm"}, {"is_fresh": stage == "pt"}):
            values = preset(name, stage, shape=shape, machine=machine, **flags)
            base = {} if flags.get("is_fresh") else {"base": "model"}
            config = TrainConfig.from_dict({"stage": stage, **PLACES, **base, **values})
            assert config.max_seq_len <= shape.max_position_embeddings
            assert config_values(stage, form_values(config.to_dict())) == config_values(stage, config.to_dict()) | (
                {"schedule": config.schedule} if config.schedule else {}
            )


def test_a_large_model_on_a_small_machine_is_trained_by_adapters_and_with_room_as_a_whole() -> None:
    shape = PRESETS["1b"]
    small = preset("balanced", "sft", shape=shape, machine=LAPTOP)
    large = preset("balanced", "sft", shape=shape, machine=SERVER)
    assert (small["adapter"], small["base_quantization"]) == ("lora", "int8")
    assert "adapter" not in large
    assert small["micro_batch_size"] < large["micro_batch_size"]


def test_quantised_weights_are_trained_beside() -> None:
    shape = PRESETS["starter"]
    assert "adapter" not in preset("quick", "sft", shape=shape, machine=LAPTOP)
    assert preset("quick", "sft", shape=shape, machine=LAPTOP, is_quantized=True)["adapter"] == "lora"


def test_rows_are_as_long_as_the_data(tmp_path: Path) -> None:
    rows = [{"prompt": f"number {i}", "completion": "word " * 20} for i in range(50)]
    write_json(tmp_path / "rows.json", rows)
    report = look_at([tmp_path / "rows.json"])
    assert report.lengths.unit == "characters"
    values = preset("thorough", "sft", shape=PRESETS["100m"], machine=SERVER, report=report)
    assert values["max_seq_len"] == 64
    assert values["epochs"] == 3.0
    assert "max_steps" not in preset("quick", "sft", shape=PRESETS["100m"], machine=SERVER, report=report)


def test_a_quick_run_is_short_and_a_thorough_one_keeps_the_best() -> None:
    shape = PRESETS["starter"]
    quick, thorough = (preset(name, "pt", shape=shape, machine=LAPTOP, is_fresh=True) for name in ("quick", "thorough"))
    assert quick["max_steps"] == 100
    assert thorough["keep_best"]
    assert quick["learning_rate"] == thorough["learning_rate"] == 1e-3
