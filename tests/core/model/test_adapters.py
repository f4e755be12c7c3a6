"""Adapters over every form of base: they begin as nothing, learn alone, turn off, merge and come apart exactly."""

import copy
import dataclasses

import pytest
import torch
from torch import Tensor, nn

from core.config.model_config import PRESETS
from core.model import quantize
from core.model.adapters import (
    AdaptedLinear,
    AdapterShape,
    adaptable_layers,
    adapted_layers,
    adapters_off,
    add_adapters_,
    float_weight,
    merge_,
    unmerge_,
)
from core.model.bnb import quantize_with_bitsandbytes_
from core.model.quantize import INT4, INT8, QuantizedLinear, quantize_
from core.model.transformer import Transformer

LORA = AdapterShape(rank=4, alpha=8)
DORA = AdapterShape(rank=4, alpha=8, is_dora=True)
IDS = torch.arange(3, 40)[None]
BASES = {
    "float": lambda model: None,
    "int8": lambda model: quantize_(model.model.layers, INT8),
    "int4": lambda model: quantize_(model.model.layers, INT4),
    "nf4": lambda model: quantize_with_bitsandbytes_(model, 4),
}


def make_model(base: str = "float") -> Transformer:
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=101, attention_bias=True, initializer_range=0.2)
    model = Transformer(config).eval()
    model.init_weights(seed=0)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.1, generator=torch.Generator().manual_seed(2))
    BASES[base](model)
    return model


def adapt(model: Transformer, shape: AdapterShape, choice: str = "all") -> Transformer:
    add_adapters_(model, shape, layers=adaptable_layers(model, choice), seed=1)
    return model


def disturb(model: Transformer) -> Transformer:
    """Give the adapters values as if they had been trained."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in adapted_layers(model).values():
            for parameter in layer.parameters(recurse=False):
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


@torch.no_grad()
def logits(model: Transformer) -> Tensor:
    result: Tensor = model(IDS)
    return result


@pytest.mark.parametrize("base", BASES)
def test_a_fresh_adapter_changes_nothing(base: str) -> None:
    """To the last bit where the same steps compute it; a model without adapters may take fused ones."""
    model, expected = adapt(make_model(base), LORA), logits(make_model(base))
    with adapters_off(model):
        off = logits(model)
    assert torch.equal(logits(model), off)
    torch.testing.assert_close(off, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(logits(adapt(make_model(base), DORA)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [LORA, DORA, dataclasses.replace(LORA, is_rank_stabilised=True)])
@pytest.mark.parametrize("base", BASES)
def test_merging_gives_the_same_model_and_unmerging_the_very_same(base: str, shape: AdapterShape) -> None:
    model = disturb(adapt(make_model(base), shape))
    before, names = logits(model), list(model.state_dict())
    merge_(model)
    assert list(model.state_dict()) == list(make_model().state_dict())
    torch.testing.assert_close(logits(model), before, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(before, logits(make_model(base)), atol=0.05)
    unmerge_(model)
    assert list(model.state_dict()) == names
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("base", BASES)
def test_without_its_adapters_the_model_is_its_base_and_with_them_again_itself(base: str) -> None:
    model = disturb(adapt(make_model(base), DORA))
    before = logits(model)
    with adapters_off(model):
        torch.testing.assert_close(logits(model), logits(make_model(base)), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(model), before)
    assert not torch.allclose(before, logits(make_model(base)), atol=0.05)


@pytest.mark.parametrize("base", BASES)
def test_adapters_alone_get_gradients(base: str) -> None:
    model = disturb(adapt(make_model(base), DORA, "attention"))
    model(IDS).square().mean().backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    expected = {f"{name}.{part}" for name in adapted_layers(model) for part in ("lora_a", "lora_b", "magnitude")}
    assert trained.keys() == expected
    assert all(gradient.abs().sum() > 0 for gradient in trained.values())
    assert {name.rpartition(".")[2] for name in adapted_layers(model)} == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert len(adapted_layers(model)) == 4 * model.config.num_hidden_layers


@pytest.mark.parametrize("shape", [LORA, DORA])
@pytest.mark.parametrize("base", ["float", "int8", "int4"])
def test_gradients_are_those_of_the_formula_in_double(base: str, shape: AdapterShape) -> None:
    """y = g (W x + s B A x) + b, g = m / ‖W + s B A‖ held constant, derived by autograd from the plain formula."""
    adapted = disturb(adapt(make_model(base), shape)).double().model.layers[0].self_attn.q_proj
    assert isinstance(adapted, AdaptedLinear)
    a, b = (half.detach().clone().requires_grad_() for half in (adapted.lora_a, adapted.lora_b))
    weight, scale = float_weight(adapted.base).double(), shape.scale
    x = torch.randn(5, weight.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    gain = torch.ones(len(weight), dtype=torch.float64)
    if adapted.magnitude is not None:
        gain = adapted.magnitude.detach() / (weight + scale * b.detach() @ a.detach()).norm(dim=1)
    expected = (theirs @ (weight + scale * b @ a).T) * gain + adapted.base.bias
    result = adapted(ours)
    torch.testing.assert_close(result, expected, atol=0, rtol=1e-10)
    result.square().sum().backward()
    expected.square().sum().backward()
    for one, other in ((ours, theirs), (adapted.lora_a, a), (adapted.lora_b, b)):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_layer_keeps_no_floats_between_its_passes(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, of which none outlives its product; the gradient is that of the float weights."""
    monkeypatch.setattr(quantize, "PRODUCT_WEIGHTS", 70 * 16)
    layer = QuantizedLinear(70, 40, bias=False, bits=bits)
    layer.fill(torch.randn(40, 70, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(2, 9, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    weight = layer.floats().double()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        y = layer(x)
    assert not kept
    torch.testing.assert_close(y, x @ weight.T)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 2 * y.detach() @ weight)


def test_the_seed_decides_the_first_values() -> None:
    one, same, other = (make_model() for _ in range(3))
    for model, seed in ((one, 1), (same, 1), (other, 2)):
        add_adapters_(model, LORA, layers=adaptable_layers(model, "all"), seed=seed)
    first, second, third = (next(iter(adapted_layers(model).values())).lora_a for model in (one, same, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert 0.9 / 8 < first.abs().max() <= 1 / 8, "uniform in ±1/√64"


def test_a_merged_model_is_quantised_like_any_other() -> None:
    model = disturb(adapt(make_model(), LORA))
    merge_(model)
    expected = copy.deepcopy(model)
    quantize_(model, INT8)
    assert isinstance(model.model.layers[0].mlp.up_proj, QuantizedLinear)
    error = (logits(model) - logits(expected)).norm() / logits(expected).norm()
    assert 0 < error < 0.05
