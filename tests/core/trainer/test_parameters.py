"""Runs that train adapters: what they change, what they write, what opens it again, and what they refuse."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import core
from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError, TrainingError
from core.evaluation.text import window_nats
from core.model.adapted_model import load_merged
from core.model.adapters import adapted_layers, adapters_off
from core.model.checkpoint import load_model, save_model
from core.model.convert import export, merge, quantize
from core.model.folder import ADAPTER_CONFIG, CONFIG
from core.model.quantize import INT4, QuantizedEmbedding, QuantizedLinear
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.parameters import num_trained
from core.trainer.run_folder import read_metrics
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]
IDS = torch.arange(5, 60)[None]


@pytest.fixture
def base(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A model folder to start from."""
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=tokenizer.vocab_size, initializer_range=0.1)
    model = Transformer(config)
    model.init_weights(seed=4)
    save_model(model, tmp_path / "base", tokenizer=tokenizer)
    return tmp_path / "base"


@pytest.fixture
def adapter_options(run_options: Options, base: Path) -> Options:
    """Options of a short run that trains adapters."""

    def options(**changes: object) -> dict[str, object]:
        given = {"base": str(base), "adapter": "lora", "learning_rate": 0.01, "lora_rank": 4, **changes}
        return run_options(**given)

    return options


def read_config(values: dict[str, object]) -> TrainConfig:
    return TrainConfig.from_dict(values)


@torch.no_grad()
def logits(model: Transformer) -> Tensor:
    result: Tensor = model.eval()(IDS)
    return result


@pytest.mark.parametrize(
    "changes",
    [
        {"adapter": "lora"},
        {"adapter": "dora"},
        {"adapter": "lora", "base_quantization": "int8"},
        {"adapter": "lora", "base_quantization": "int4"},
        {"adapter": "lora", "base_quantization": "nf4"},
        {"adapter": "dora", "base_quantization": "int4", "gradient_checkpointing": True},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_adapters_learn_while_the_base_stays_and_are_what_is_written(
    adapter_options: Options, base: Path, changes: dict[str, object]
) -> None:
    """QLoRA among them: bitsandbytes' NF4 runs on the CPU."""
    before = (base / "model.safetensors").read_bytes()
    config = read_config(adapter_options(max_steps=12, **changes))
    folder = train(config)
    losses = [row["loss"] for row in read_metrics(Path(config.output) / "metrics.jsonl") if "loss" in row]
    assert losses[-1] < losses[0] - 0.3
    assert (base / "model.safetensors").read_bytes() == before
    assert not (folder / CONFIG).exists()
    settings = json.loads((folder / ADAPTER_CONFIG).read_text())
    assert (settings["peft_type"], settings["r"], settings["use_dora"]) == ("LORA", 4, changes["adapter"] == "dora")
    assert settings["base_model_name_or_path"] == str(base)
    assert settings["astrai"]["steps"] == 12


def test_one_step_of_lora_is_that_of_the_merged_weights_gradient(adapter_options: Options) -> None:
    """With B = 0 the gradient of B is s dW Aᵀ, where dW is the full model's gradient."""
    full = build_context(read_config(adapter_options(adapter="none", lora_rank=16)), resume=False)
    lora = build_context(read_config(adapter_options()), resume=False)
    batch = lora.train_rows.batch([(0, 0), (0, 1)])
    for context in (full, lora):
        context.strategy.loss(context, batch).total.backward()
    name = "model.layers.1.mlp.down_proj"
    layer = adapted_layers(lora.model)[name]
    gradient = full.model.get_parameter(f"{name}.weight").grad
    assert gradient is not None
    torch.testing.assert_close(layer.lora_b.grad, 32 / 4 * gradient @ layer.lora_a.T, atol=1e-4, rtol=1e-4)
    assert float(layer.lora_a.grad.abs().sum()) == 0


def test_options_of_adapters_decide_rank_scale_layers_and_form(adapter_options: Options) -> None:
    changes = {"lora_rank": 3, "lora_alpha": 6.0, "lora_layers": "attention", "base_quantization": "int4"}
    model = build_context(read_config(adapter_options(**changes)), resume=False).model
    layers = adapted_layers(model)
    assert {name.rpartition(".")[2] for name in layers} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {(len(layer.lora_a), layer.shape.scale) for layer in layers.values()} == {(3, 2.0)}
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert {kinds[f"{name}.base"] for name in layers} == {QuantizedLinear}
    assert kinds["model.layers.0.mlp.up_proj"] is QuantizedLinear
    assert kinds["lm_head"] is torch.nn.Linear
    assert kinds["model.embed_tokens"] is torch.nn.Embedding
    assert num_trained(model) == sum(layer.lora_a.numel() + layer.lora_b.numel() for layer in layers.values())


def test_all_layers_are_adapted_where_nothing_else_is_said(adapter_options: Options) -> None:
    model = build_context(read_config(adapter_options()), resume=False).model
    assert len(adapted_layers(model)) == 7 * model.config.num_hidden_layers


@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_a_resumed_run_ends_as_the_uninterrupted_one(adapter_options: Options, tmp_path: Path, adapter: str) -> None:
    whole = adapter_options(adapter=adapter, output=str(tmp_path / "whole"), base_quantization="int8")
    expected = load_file(train(read_config(whole)) / "adapter_model.safetensors")
    half = {**whole, "output": str(tmp_path / "half"), "max_steps": 3, "schedule": {"kind": "constant"}}
    whole_constant = {**half, "output": str(tmp_path / "constant"), "max_steps": 6}
    expected = load_file(train(read_config(whole_constant)) / "adapter_model.safetensors")
    train(read_config(half))
    resumed = train(read_config({**half, "max_steps": 6}), resume=True)
    result = load_file(resumed / "adapter_model.safetensors")
    assert result.keys() == expected.keys()
    assert all(torch.equal(result[name], expected[name]) for name in expected)


def test_a_resume_with_another_rank_is_refused(adapter_options: Options) -> None:
    train(read_config(adapter_options(max_steps=1)))
    with pytest.raises(TrainingError, match="was begun with lora_rank 4, not 8"):
        train(read_config(adapter_options(max_steps=2, lora_rank=8)), resume=True)


@pytest.mark.parametrize("quantization", ["none", "int8"])
@pytest.mark.parametrize("adapter", ["lora", "dora"])
def test_the_result_opens_as_base_and_adapter(adapter_options: Options, adapter: str, quantization: str) -> None:
    config = read_config(adapter_options(adapter=adapter))
    folder = train(config)
    merged = load_merged(folder)
    prompt = "The quick brown"
    with_adapter = core.load(config.output, quantization=quantization)
    assert with_adapter.name == "run"
    merged_model = core.load(export(folder, folder.parent / "merged"), quantization=quantization)
    only_base = core.load(str(config.base), quantization=quantization)
    sampling = {"temperature": 0, "max_new_tokens": 24}
    nats = [window_nats(model, list(range(3, 40)), 1) for model in (with_adapter, merged_model, only_base)]
    assert abs(nats[0] - nats[1]) < 0.25 * abs(nats[2] - nats[1])
    assert with_adapter.generate(prompt, **sampling) != only_base.generate(prompt, **sampling)
    for model in (with_adapter, merged_model, only_base):
        model.close()
    assert not torch.allclose(logits(merged), logits(load_model(Path(str(config.base)))), atol=0.05)
    file = load_model(merge(folder, folder.parent / "model.gguf", to="gguf", dtype="f32"))
    assert torch.allclose(logits(file), logits(merged), atol=1e-3)
    with pytest.raises(ModelError, match=r"merged is a whole model\. Give the run or folder of an adapter"):
        merge(folder.parent / "merged", folder.parent / "again")


def test_an_adapter_of_another_base_is_refused_with_both_hashes(adapter_options: Options, base: Path) -> None:
    folder = train(read_config(adapter_options(max_steps=1)))
    changed = load_model(base)
    changed.init_weights(seed=5)
    save_model(changed, base, tokenizer=Tokenizer.load(base))
    with pytest.raises(ModelError, match=r"whose weights hash to [0-9a-f]{12}…; those of .*base hash to [0-9a-f]{12}…"):
        core.load(folder)


def test_an_adapter_whose_base_is_gone_names_it(adapter_options: Options, base: Path) -> None:
    folder = train(read_config(adapter_options(max_steps=1)))
    base.rename(base.with_name("moved"))
    with pytest.raises(ModelError, match=r"is an adapter of .*base, which is not here"):
        core.load(folder)
    settings = json.loads((folder / ADAPTER_CONFIG).read_text())
    settings["base_model_name_or_path"] = "../../moved"
    (folder / ADAPTER_CONFIG).write_text(json.dumps(settings))
    core.load(folder).close()


def test_a_stage_may_start_from_an_adapter_and_its_own_names_it(adapter_options: Options, tmp_path: Path) -> None:
    first = train(read_config(adapter_options(max_steps=3)))
    second = adapter_options(base=str(first), output=str(tmp_path / "second"), max_steps=3, base_quantization="int8")
    context = build_context(read_config(second), resume=False)
    with context.as_reference() as reference:
        error = (logits(reference) - logits(load_merged(first))).norm() / logits(load_merged(first)).norm()
    assert 0 < error < 0.02
    folder = train(read_config(second))
    assert json.loads((folder / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == str(first)
    core.load(folder).close()


def test_the_reference_is_the_policy_without_its_adapters(adapter_options: Options, base: Path) -> None:
    context = build_context(read_config(adapter_options()), resume=False)
    Trainer(context, []).step()
    with context.as_reference() as reference:
        assert reference is context.model
        frozen = logits(reference)
    torch.testing.assert_close(frozen, logits(load_model(base)), rtol=0, atol=1e-5)
    assert not torch.equal(frozen, logits(context.policy))
    with adapters_off(context.model):
        assert torch.equal(logits(context.policy), frozen)


def test_a_cached_reference_holds_for_one_form_of_the_base(adapter_options: Options, pair_data: Path) -> None:
    """Policy and reference begin equal, so the first loss is ln 2, whatever an earlier run kept beside the data."""
    losses = {}
    for form in ("none", "int4"):
        changes = {"stage": "dpo", "data": str(pair_data), "max_seq_len": 96, "cache_reference": True}
        config = read_config(adapter_options(**changes, base_quantization=form))
        context = build_context(config, resume=False)
        loss = Trainer(context, []).step().metrics["loss"]
        losses[form] = float(loss.total) / float(loss.weight)
    assert losses == pytest.approx({"none": math.log(2), "int4": math.log(2)}, abs=1e-6)


def test_adapters_are_trained_beside_a_quantised_base_as_it_is(
    adapter_options: Options, base: Path, tmp_path: Path
) -> None:
    quantised = str(quantize(base, tmp_path / "int4", scheme=INT4))
    with pytest.raises(ModelError, match="is int4 already, and base_quantization is int8"):
        build_context(read_config(adapter_options(base=quantised, base_quantization="int8")), resume=False)
    model = build_context(read_config(adapter_options(base=quantised)), resume=False).model
    assert not any(isinstance(module, QuantizedEmbedding) for module in model.modules())
    core.load(train(read_config(adapter_options(base=quantised, max_steps=2)))).close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": "none"}, "lora_rank 4 needs adapter lora or dora"),
        ({"adapter": "none", "lora_rank": 16, "base_quantization": "int8"}, "base_quantization int8 needs adapter"),
        ({"adapter": "none", "lora_rank": 16, "lora_alpha": 1.0}, "lora_alpha 1.0 needs adapter"),
        ({"adapter": "none", "lora_rank": 16, "lora_layers": "attention"}, "lora_layers attention needs adapter"),
        ({"base": None}, "adapter lora needs base"),
        ({"optimizer": "muon"}, "optimizer muon is for whole matrices, and adapter is lora"),
        ({"stage": "rm"}, "stage rm trains a whole reward model, and adapter is lora"),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    adapter_options: Options, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(adapter_options(**changes))
