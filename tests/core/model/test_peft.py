"""Adapter folders against PEFT itself, both ways: equal logits."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from core.config.model_config import PRESETS
from core.inference.runner import Segment
from core.inference.torch_runner import TorchRunner
from core.model.adapted_model import load_merged
from core.model.adapters import (
    AdapterShape,
    adaptable_layers,
    adapted_layers,
    add_adapters_,
)
from core.model.checkpoint import load_model, save_model
from core.model.folder import ADAPTER_CONFIG, AdapterBase
from core.model.lora import load_adapter
from core.model.peft_format import load_values_, read_adapter, write_adapter
from core.model.transformer import Transformer
from core.model.weight_files import weights_hash
from tests.peers import trl_peer

IDS = list(range(3, 40))
SHAPES = {
    "lora": AdapterShape(rank=4, alpha=8),
    "dora": AdapterShape(rank=4, alpha=8, is_dora=True),
    "rslora": AdapterShape(rank=4, alpha=6, is_rank_stabilised=True),
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Qwen2's form, which has biases."""
    config = dataclasses.replace(
        PRESETS["tiny"], model_type="qwen2", vocab_size=101, attention_bias=True, initializer_range=0.2
    )
    model = Transformer(config)
    model.init_weights(seed=0)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1, generator=torch.Generator().manual_seed(2))
    save_model(model, tmp_path / "base")
    return tmp_path / "base"


def adapted(base: Path, shape: AdapterShape, choice: str = "all") -> Transformer:
    model = load_model(base)
    add_adapters_(model, shape, layers=adaptable_layers(model, choice), seed=1)
    return model


def write_random(base: Path, folder: Path, shape: AdapterShape, choice: str = "all") -> Transformer:
    model = adapted(base, shape, choice)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in adapted_layers(model).values():
            for parameter in layer.parameters(recurse=False):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    write_adapter(model, folder, base=AdapterBase(str(base), weights_hash(base)), origin={"stage": "sft"})
    return model


@torch.no_grad()
def logits(model: Transformer) -> Tensor:
    result: Tensor = model(torch.tensor([IDS]))[0]
    return result


def assert_equal_logits(ours: Tensor, theirs: Any) -> None:
    torch.testing.assert_close(ours, torch.tensor(theirs), atol=1e-5, rtol=1e-5)


def test_peft_opens_ours_with_equal_logits(base: Path, tmp_path: Path) -> None:
    cases = [(shape, choice) for shape in SHAPES.values() for choice in ("all", "attention")]
    folders = [tmp_path / str(number) for number in range(len(cases))]
    models = [write_random(base, folder, *case) for folder, case in zip(folders, cases, strict=True)]
    requests = [{"base": str(base), "adapter": str(folder), "ids": IDS} for folder in folders]
    for model, theirs in zip(models, trl_peer.ask("peft_worker.py", requests), strict=True):
        assert_equal_logits(logits(model), theirs)


def test_ours_opens_pefts_with_equal_logits_merged_served_and_for_training(base: Path, tmp_path: Path) -> None:
    requests = [
        {"base": str(base), "adapter": str(tmp_path / kind), "ids": IDS, "create": peft_settings(shape)}
        for kind, shape in SHAPES.items()
    ]
    for kind, theirs in zip(SHAPES, trl_peer.ask("peft_worker.py", requests), strict=True):
        folder, model = tmp_path / kind, load_model(base)
        assert_equal_logits(logits(load_merged(folder)), theirs)
        stored = read_adapter(folder, model.config)
        add_adapters_(model, stored.shape, layers=stored.layers, seed=0)
        load_values_(model, stored)
        assert_equal_logits(logits(model), theirs)
        runner = TorchRunner(load_model(base), 8)
        runner.add_adapter(None, load_adapter([folder], model.config, runner.weight))
        assert_equal_logits(runner.forward([Segment(IDS, 0, [0, 1], len(IDS))]), theirs)


def peft_settings(shape: AdapterShape) -> dict[str, object]:
    return {
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "use_dora": shape.is_dora,
        "use_rslora": shape.is_rank_stabilised,
        "target_modules": ["q_proj", "o_proj", "up_proj"],
    }


@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_written_is_read_back_exactly(base: Path, tmp_path: Path, kind: str) -> None:
    model = write_random(base, tmp_path / "adapter", SHAPES[kind])
    again = adapted(base, SHAPES[kind])
    load_values_(again, read_adapter(tmp_path / "adapter", again.config))
    assert torch.equal(logits(again), logits(model))
    settings = json.loads((tmp_path / "adapter" / ADAPTER_CONFIG).read_text())
    assert settings["astrai"] == {"base_weights_hash": weights_hash(base), "stage": "sft"}
