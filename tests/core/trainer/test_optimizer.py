"""Which optimiser owns which weight, what decays, and what clipping does."""

from collections.abc import Callable

import pytest
import torch
from torch.optim import AdamW

from core.config.model_config import PRESETS, ModelConfig
from core.config.train_config import TrainConfig
from core.model.transformer import Transformer
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
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


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
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
