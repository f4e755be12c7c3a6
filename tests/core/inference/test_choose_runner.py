"""A path that is slower, or another than was asked for, is told."""

import dataclasses

import pytest

from core.config.model_config import PRESETS
from core.inference import choose_runner
from core.inference.scheduler import EngineConfig
from core.inference.torch_runner import TorchRunner
from core.model.quantize import INT8, quantize_
from core.model.transformer import Transformer

TINY = dataclasses.replace(PRESETS["tiny"], vocab_size=64, num_hidden_layers=1)


def test_a_quantised_model_that_the_kernels_cannot_take_runs_on_torch_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choose_runner, "kernels_work", lambda: True)
    model = Transformer(dataclasses.replace(TINY, head_dim=8)).eval()
    model.init_weights(seed=0)
    quantize_(model, INT8)
    assert isinstance(choose_runner.runner_for(model, EngineConfig(max_seq_len=32)), TorchRunner)
    assert caplog.messages == ["the kernels do not take this model's widths: it runs on torch, slower"]


def test_a_form_of_the_cache_that_is_not_to_be_had_is_told(caplog: pytest.LogCaptureFixture) -> None:
    model = Transformer(TINY)
    choose_runner.runner_for(model, EngineConfig(max_seq_len=32))
    assert not caplog.messages
    choose_runner.runner_for(model, EngineConfig(max_seq_len=32, kv_cache="int8"))
    assert caplog.messages == ["the keys and values are torch.float32: int8 needs the CPU's kernels"]
