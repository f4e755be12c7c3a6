"""Which optimiser owns which weight, what decays, and what clipping does."""

import sys
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import AdamW

from core.config.model_config import PRESETS, ModelConfig
from core.config.train_config import TrainConfig
from core.errors import ConfigError
from core.model.transformer import Transformer
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.optimizer import build_optimizers
from core.trainer.trainer import Trainer

Options = Callable[..., dict[str, object]]


def make_model() -> Transformer:
    biased = {**PRESETS["tiny"].to_dict(), "vocab_size": 40, "model_type": "qwen2", "attention_bias": True}
    model = Transformer(ModelConfig.from_dict(biased))
    model.init_weights(seed=1)
    return model


def make_config(**changes: object) -> TrainConfig:
    return TrainConfig.from_dict({"data": "d", "output": "o", **changes})


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "muon"])
def test_every_parameter_has_one_owner(optimizer: str) -> None:
    model = make_model()
    optimizers = build_optimizers({"": model}, make_config(optimizer=optimizer), torch.device("cpu"))
    owned = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())


def test_muon_owns_the_matrices_of_the_blocks_and_nothing_else() -> None:
    model = make_model()
    _, muon = build_optimizers({"": model}, make_config(optimizer="muon"), torch.device("cpu"))
    owned = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in owned}
    assert names == {n for n, p in model.named_parameters() if n.startswith("model.layers.") and p.dim() == 2}


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "muon"])
def test_without_gradient_matrices_decay_and_norms_and_biases_stay(optimizer: str) -> None:
    model = make_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = make_config(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for each in build_optimizers({"": model}, config, torch.device("cpu")):
        each.step()
    for name, parameter in model.named_parameters():
        kept = 1 - 0.1 * 0.5 if parameter.dim() == 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, msg=name)


def test_one_adamw_step_by_hand() -> None:
    """The first step of Adam moves every weight by the learning rate against the gradient's sign."""
    model = make_model()
    config = make_config(learning_rate=0.01, weight_decay=0.1)
    before = model.model.embed_tokens.weight.detach().clone()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, -3.0)
    (optimizer,) = build_optimizers({"": model}, config, torch.device("cpu"))
    assert isinstance(optimizer, AdamW)
    optimizer.step()
    expected = before * (1 - 0.01 * 0.1) + 0.01
    torch.testing.assert_close(model.model.embed_tokens.weight.detach(), expected, atol=1e-6, rtol=0)


def test_a_clipped_gradient_has_the_limits_norm_and_the_reported_one_is_unclipped(
    run_options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []

    def record(self: AdamW, closure: None = None) -> None:
        squares = [p.grad.square().sum() for group in self.param_groups for p in group["params"]]
        norms.append(torch.stack(squares).sum().sqrt().item())

    monkeypatch.setattr(AdamW, "step", record)
    results = []
    for limit in (0.25, 0.0):
        context = build_context(TrainConfig.from_dict(run_options(max_grad_norm=limit)), resume=False)
        results.append(Trainer(context, []).step())
    assert results[0].grad_norm == pytest.approx(results[1].grad_norm)
    assert norms[0] == pytest.approx(0.25, rel=1e-4)
    assert norms[1] == pytest.approx(results[1].grad_norm, rel=1e-4)
    assert norms[1] > 0.25


def test_averages_of_8_bits_step_almost_as_those_of_32(run_options: Options) -> None:
    losses = {}
    for optimizer in ("adamw", "adamw_8bit"):
        context = build_context(TrainConfig.from_dict(run_options(optimizer=optimizer)), resume=False)
        trainer = Trainer(context, [])
        losses[optimizer] = [float(trainer.step().metrics["loss"].total) for _ in range(6)]
    assert losses["adamw_8bit"] == pytest.approx(losses["adamw"], rel=2e-3)
    assert losses["adamw_8bit"] != losses["adamw"]
    (state,) = [context.optimizers[0].state[context.policy.model.embed_tokens.weight]]
    assert (state["state1"].dtype, state["state2"].dtype) == (torch.uint8, torch.uint8)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "muon"])
def test_a_resumed_optimiser_steps_as_the_uninterrupted_one(run_options: Options, optimizer: str) -> None:
    """Three steps, a checkpoint, three more: the weights are bit-equal to six steps in one go."""
    ends = []
    for breaks in (False, True):
        name = f"{optimizer}-{breaks}"
        given = run_options(optimizer=optimizer, schedule={"kind": "constant"})
        given["output"] = f"{given['output']}-{name}"
        if breaks:
            train(TrainConfig.from_dict({**given, "max_steps": 3}))
        folder = train(TrainConfig.from_dict(given), resume=breaks)
        ends.append(load_file(folder / "model.safetensors"))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_without_bitsandbytes_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match=r"bitsandbytes does not load here .* Set optimizer to adamw\."):
        build_optimizers({"": make_model()}, make_config(optimizer="adamw_8bit"), torch.device("cpu"))


def test_a_device_without_8_bit_kernels_is_named() -> None:
    with pytest.raises(ConfigError, match="adamw_8bit does not run on mps"):
        build_optimizers({"": make_model()}, make_config(optimizer="adamw_8bit"), torch.device("mps"))


def test_muons_momentum_belongs_to_muon() -> None:
    with pytest.raises(ConfigError, match=r"muon_momentum 0\.5 is for optimizer muon, not for adamw"):
        make_config(muon_momentum=0.5)


@pytest.mark.parametrize("changes", [{"adam_beta1": 0.5}, {"adam_beta2": 0.5}, {"optimizer": "muon"}])
def test_each_option_changes_the_second_step(run_options: Options, changes: dict[str, object]) -> None:
    ends = []
    for given in ({}, changes):
        context = build_context(TrainConfig.from_dict(run_options(**given)), resume=False)
        trainer = Trainer(context, [])
        trainer.step()
        trainer.step()
        ends.append(context.policy.model.layers[0].mlp.up_proj.weight.detach().clone())
    assert not torch.equal(*ends)


def test_muons_momentum_changes_its_second_step(run_options: Options) -> None:
    ends = []
    for momentum in (0.95, 0.5):
        given = run_options(optimizer="muon", muon_momentum=momentum)
        context = build_context(TrainConfig.from_dict(given), resume=False)
        trainer = Trainer(context, [])
        trainer.step()
        trainer.step()
        ends.append(context.policy.model.layers[0].mlp.up_proj.weight.detach().clone())
    assert not torch.equal(*ends)
