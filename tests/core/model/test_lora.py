"""Adapters beside the weights give what merged weights give; anything but plain LoRA is refused."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.config.model_config import PRESETS, ModelConfig
from core.errors import ModelError
from core.inference.runner import Segment
from core.inference.torch_runner import TorchRunner
from core.model import lora
from core.model.adapters import AdapterShape, adapted_layers, add_adapters_, merge_
from core.model.lora import Adapter
from core.model.peft_format import linear_shapes, load_values_, read_adapter
from core.model.transformer import Transformer

CONFIG = dataclasses.replace(PRESETS["tiny"], vocab_size=101, initializer_range=0.2)
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def load_adapter(folder: Path, config: ModelConfig) -> Adapter:
    return lora.load_adapter([folder], config, lambda name: network().get_submodule(name).weight.detach())


def network() -> Transformer:
    model = Transformer(CONFIG).eval()
    model.init_weights(seed=0)
    return model


def tensors_of(rank: int, seed: int, targets: tuple[str, ...] = ALL) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (outputs, inputs) in linear_shapes(CONFIG).items():
        if name.endswith(targets):
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(rank, inputs, generator=draw) / 4
            tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(outputs, rank, generator=draw) / 4
    return tensors


def write_adapter(folder: Path, tensors: dict[str, Tensor], **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(ALL), "bias": "none", **settings}
    (folder / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def merged(tensors: dict[str, Tensor], scale: float) -> Transformer:
    model = network()
    for name in {key.rsplit(".lora_", 1)[0] for key in tensors}:
        layer = model.get_submodule(name.removeprefix("base_model.model."))
        a, b = (tensors[f"{name}.lora_{half}.weight"] for half in "AB")
        with torch.no_grad():
            layer.weight += scale * b @ a
    return model


def full_logits(model: Transformer, ids: list[int]) -> Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids]))[0]


@pytest.mark.parametrize(("settings", "scale"), [({}, 2.0), ({"use_rslora": True}, 8 / math.sqrt(4))])
@pytest.mark.parametrize("targets", [ALL, ("q_proj", "v_proj")])
def test_unmerged_logits_equal_those_of_merged_weights(
    tmp_path: Path, targets: tuple[str, ...], settings: dict[str, Any], scale: float
) -> None:
    tensors = tensors_of(4, 1, targets)
    runner = TorchRunner(network(), 8)
    runner.add_adapter("poet", load_adapter(write_adapter(tmp_path, tensors, **settings), CONFIG))
    ids = list(range(30))
    logits = runner.forward([Segment(ids, 0, [3], len(ids), "poet")])
    expected = full_logits(merged(tensors, scale), ids)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(logits, full_logits(network(), ids), atol=1e-2)


def test_two_adapters_and_none_in_one_step_equal_each_alone(tmp_path: Path) -> None:
    runner = TorchRunner(network(), 8)
    expected = {None: network()}
    for name, rank in (("a", 4), ("b", 2)):
        tensors = tensors_of(rank, rank)
        folder = write_adapter(tmp_path / name, tensors, r=rank)
        runner.add_adapter(name, load_adapter(folder, CONFIG))
        expected[name] = merged(tensors, 8 / rank)
    asked = [(None, [5, 6, 7]), ("b", [1, 2, 3, 4]), ("a", [9]), ("b", [8, 8]), (None, [3])]
    segments = [Segment(ids, 0, [block], len(ids), name) for block, (name, ids) in enumerate(asked)]
    logits = runner.forward(segments)
    alone = torch.cat([full_logits(expected[name], ids) for name, ids in asked])
    torch.testing.assert_close(logits, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peft_type": "LOHA"}, "kind 'LOHA', not LORA"),
        ({"use_dora": True}, "has A, B of .*, and an adapter of its kind has A, B, magnitude"),
        ({"modules_to_save": ["lm_head"]}, r"sets modules_to_save to \['lm_head'\]"),
        ({"bias": "all"}, "sets bias to 'all'"),
        ({"rank_pattern": {"q_proj": 8}}, "sets rank_pattern"),
        ({"r": 0}, r"r of adapter is 0, it must be a number in 1 … 1024"),
        ({"lora_alpha": None}, "lora_alpha of adapter is None"),
        ({"r": 8}, r"is \[4, \d+\] of torch.float32, this model needs \[8, \d+\]"),
    ],
)
def test_settings_of_other_kinds_are_named(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    folder = write_adapter(tmp_path / "adapter", tensors_of(4, 1), **settings)
    with pytest.raises(ModelError, match=reason):
        load_adapter(folder, CONFIG)


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    whole = tensors_of(4, 1)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    cases = {
        "changes base_model.model.lm_head.lora_A.weight": {"base_model.model.lm_head.lora_A.weight": torch.ones(4, 4)},
        "which is no layer of this model": {name.replace("layers.0", "layers.77"): whole[name].clone()},
        r"is \[3, 4\] of torch.float32": {name: torch.ones(3, 4)},
        "of torch.int8": {name: torch.ones_like(whole[name], dtype=torch.int8)},
        "values that are not finite": {name: whole[name] * torch.inf},
    }
    for reason, changed in cases.items():
        folder = write_adapter(tmp_path / "adapter", {**whole, **changed})
        with pytest.raises(ModelError, match=reason):
            load_adapter(folder, CONFIG)
    del whole[name]
    with pytest.raises(ModelError, match=r"has B of model\.layers\.0\.self_attn\.q_proj, .* has A, B"):
        load_adapter(write_adapter(tmp_path / "adapter", whole), CONFIG)


def test_folders_without_whole_safetensors_are_refused(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", tensors_of(4, 1))
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="is not a whole safetensors file"):
        load_adapter(folder, CONFIG)
    weights.unlink()
    with pytest.raises(ModelError, match=r"has no adapter_model\.safetensors"):
        load_adapter(folder, CONFIG)
    (folder / "adapter_model.bin").touch()
    with pytest.raises(ModelError, match=r"as a pickle \(adapter_model\.bin\), which can run code"):
        load_adapter(folder, CONFIG)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(ModelError, match=r"adapter_config\.json is not readable JSON"):
        load_adapter(folder, CONFIG)


def test_hostile_settings_and_links_are_one_sentence(tmp_path: Path) -> None:
    huge = write_adapter(tmp_path / "huge", tensors_of(4, 1), lora_alpha=10**400)
    with pytest.raises(ModelError, match=r"lora_alpha of huge is 1000*\.\.\.0*, it must be a number"):
        load_adapter(huge, CONFIG)
    infinite = write_adapter(tmp_path / "infinite", tensors_of(4, 1), lora_alpha=1e308)
    with pytest.raises(ModelError, match=r"infinite makes model\.layers\.0\.\S+ infinite: its scale is 2\.5e\+307"):
        load_adapter(infinite, CONFIG)
    linked = write_adapter(tmp_path / "linked", tensors_of(4, 1))
    weights = linked / "adapter_model.safetensors"
    weights.rename(tmp_path / "elsewhere.safetensors")
    weights.symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(ModelError, match=r"is a link to .*elsewhere\.safetensors, outside the folder"):
        load_adapter(linked, CONFIG)


@torch.no_grad()
@pytest.mark.parametrize("kinds", [("dora",), ("dora", "lora"), ("lora", "dora"), ("dora", "dora"), ("lora", "lora")])
def test_adapters_on_each_other_equal_those_merged_one_after_the_other(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    expected, folders = network(), []
    for number, kind in enumerate(kinds):
        folder, tensors = tmp_path / str(number), tensors_of(4, number, ALL[2 * number :])
        add_adapters_(
            expected, AdapterShape(rank=4, alpha=8, is_dora=kind == "dora"), layers=layers_of(tensors), seed=0
        )
        for name, layer in adapted_layers(expected).items():
            if layer.magnitude is not None:
                changed = layer.magnitude.detach() * torch.linspace(0.5, 1.5, len(layer.magnitude))
                tensors[f"base_model.model.{name}.lora_magnitude_vector"] = changed
        folders.append(write_adapter(folder, tensors, use_dora=kind == "dora"))
        load_values_(expected, read_adapter(folder, CONFIG))
        merge_(expected)
    runner = TorchRunner(network(), 8)
    runner.add_adapter("all", lora.load_adapter(folders, CONFIG, runner.weight))
    ids = list(range(30))
    logits = runner.forward([Segment(ids, 0, [3], len(ids), "all"), Segment(ids, 0, [4], len(ids))])
    torch.testing.assert_close(logits[:30], full_logits(expected, ids), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(logits[30:], full_logits(network(), ids), atol=1e-4, rtol=1e-4)


def layers_of(tensors: dict[str, Tensor]) -> list[str]:
    return sorted({key.split(".lora_")[0].removeprefix("base_model.model.") for key in tensors})
