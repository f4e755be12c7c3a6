"""bitsandbytes' layers in our Transformer, on the CPU, where they run slowly but are the same."""

import copy
import dataclasses

import pytest
import torch

from core.config.model_config import PRESETS
from core.errors import ConfigError
from core.inference.runner import Segment
from core.inference.torch_runner import TorchRunner
from core.model.bnb import dequantized_nf4, quantize_with_bitsandbytes_
from core.model.quantize import INT4, INT8, QuantizedLinear, Scheme, dequantize_, quantize_
from core.model.transformer import Transformer


@pytest.fixture
def model() -> Transformer:
    config = dataclasses.replace(PRESETS["tiny"], vocab_size=101, attention_bias=True, initializer_range=0.1)
    model = Transformer(config).eval()
    model.init_weights(seed=0)
    return model


@torch.inference_mode()
@pytest.mark.parametrize(("bits", "bound"), [(8, 0.02), (4, 0.35)])
def test_a_quantised_model_stays_close_and_runs_in_the_engine(model: Transformer, bits: int, bound: float) -> None:
    ids = list(range(3, 40))
    expected = model(torch.tensor([ids]))[0]
    quantize_with_bitsandbytes_(model, bits)
    left = {module.in_features for module in model.model.layers.modules() if type(module) is torch.nn.Linear}
    assert left == ({model.config.intermediate_size} if bits == 4 else set())  # of which 64 is no part
    logits = TorchRunner(model, num_blocks=2).forward([Segment(ids, 0, [1, 0], len(ids))])
    error = float((logits - expected).norm() / expected.norm())
    assert 0 < error < bound


@torch.inference_mode()
def test_an_answer_leaves_the_4_bit_codes_as_they_are_on_every_processor(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = pytest.importorskip("bitsandbytes.nn.modules", reason="bitsandbytes does not load here")
    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)
    quantize_with_bitsandbytes_(model, 4)
    layer = model.eval().model.layers[0].mlp.up_proj
    before = dequantized_nf4(layer)
    model(torch.arange(20)[None])
    assert torch.equal(dequantized_nf4(layer), before)


@torch.inference_mode()
def test_4_bit_weights_are_close_to_what_they_were(model: Transformer) -> None:
    before = copy.deepcopy(model)
    quantize_with_bitsandbytes_(model, 4)
    layers = {name: layer for name, layer in model.model.layers.named_modules() if hasattr(layer, "compute_dtype")}
    assert len(layers) == 6 * model.config.num_hidden_layers
    for name, layer in layers.items():
        weight = before.model.layers.get_submodule(name).weight
        assert (dequantized_nf4(layer) - weight).norm() < 0.1 * weight.norm(), name  # 0.092 of normal ones


def test_without_the_library_one_sentence_says_so(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="bitsandbytes does not load here"):
        quantize_with_bitsandbytes_(model, 8)


@torch.inference_mode()
@pytest.mark.parametrize("scheme", [INT8, INT4])
@pytest.mark.parametrize("tied", [True, False])
def test_our_own_form_becomes_floats_again_for_other_devices(model: Transformer, scheme: Scheme, tied: bool) -> None:
    model = Transformer(dataclasses.replace(model.config, tie_word_embeddings=tied)).eval()
    model.init_weights(seed=1)
    quantize_(model, scheme)
    expected = copy.deepcopy(model)(torch.arange(20)[None])
    dequantize_(model, torch.float32)
    assert not any(isinstance(module, QuantizedLinear) for module in model.modules())
    assert (model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()) == tied
    torch.testing.assert_close(model(torch.arange(20)[None]), expected)
