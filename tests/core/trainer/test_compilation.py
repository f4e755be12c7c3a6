"""Blocks that torch.compile has translated learn what the others do, where there is a compiler."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core.config.train_config import TrainConfig
from core.errors import ConfigError
from core.trainer.build_context import build_context
from core.trainer.compilation import MIN_PARAMETERS, resolve_compile
from core.trainer.trainer import Trainer

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture
def options(text_data: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "data": str(text_data), "output": str(tmp_path / "run"), "preset": "tiny", "max_seq_len": 64,
        "micro_batch_size": 2, "global_batch_size": 4, "max_steps": 4, "precision": "fp32",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # torch's compiler looks at what it warns of
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler is on the PATH")
@pytest.mark.parametrize("device", DEVICES)
def test_compiled_blocks_learn_what_the_others_do(options: dict[str, Any], device: str) -> None:
    losses = {}
    for compiles in ("off", "on"):
        config = TrainConfig.from_dict({**options, "device": device, "compile": compiles})
        context = build_context(config, resume=False)
        assert context.model.compiles_blocks == (compiles == "on")
        trainer = Trainer(context, [])
        losses[compiles] = [trainer.step().loss for _ in range(4)]
    assert losses["on"] == pytest.approx(losses["off"], rel=1e-5)


def test_on_without_a_compiler_is_refused(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    config = TrainConfig.from_dict({**options, "device": "cpu", "compile": "on"})
    with pytest.raises(ConfigError, match=r"compile is on, and no compiler is on the PATH \(g\+\+, clang\+\+, cl\)"):
        build_context(config, resume=False)


def test_auto_compiles_large_models_on_a_gpu_alone(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.trainer.compilation._missing_compiler", lambda device: None)
    auto, gpu, cpu = TrainConfig.from_dict(options), torch.device("cuda"), torch.device("cpu")
    assert resolve_compile(auto, gpu, MIN_PARAMETERS)
    assert not resolve_compile(auto, gpu, MIN_PARAMETERS - 1)
    assert not resolve_compile(auto, cpu, MIN_PARAMETERS)
    adapter = TrainConfig.from_dict({**options, "base": "somewhere", "adapter": "lora"})
    assert not resolve_compile(adapter, gpu, MIN_PARAMETERS)
    monkeypatch.setattr("core.trainer.compilation._missing_compiler", lambda device: "Triton is not installed")
    assert not resolve_compile(auto, gpu, MIN_PARAMETERS)


def test_compiling_adapters_is_a_conflict(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="compile is for whole models, and adapter is lora"):
        TrainConfig.from_dict({**options, "base": "somewhere", "adapter": "lora", "compile": "on"})
