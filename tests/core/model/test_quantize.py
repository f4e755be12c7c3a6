"""int8 and int4 weights: within the rounding bound, tied once, saved and loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import load_model, save_model
from core.model.convert import export, quantize
from core.model.quantize import (
    INT4,
    INT8,
    QuantizedLinear,
    Scheme,
    pack_nibbles,
    quantize_,
    quantize_weight,
    unpack_nibbles,
)
from core.model.transformer import Transformer


def make_model(tokenizer: Tokenizer, *, tied: bool) -> Transformer:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "tie_word_embeddings": tied}
    model = Transformer(ModelConfig.from_dict(values)).eval()
    model.init_weights(seed=5)
    return model


def test_rows_round_to_half_a_step_of_their_own_scale() -> None:
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 3, 7)[:, None]
    quantised, scale = quantize_weight(weight, bits=8)
    error = (quantised.float() * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * 0.5001).all()
    assert int(quantised.abs().max()) == 127


def test_a_row_of_zeros_stays_zero_and_nan_is_refused() -> None:
    quantised, scale = quantize_weight(torch.zeros(2, 4), bits=8)
    assert not quantised.any()
    assert torch.isfinite(scale).all()
    with pytest.raises(ModelError, match="1 of 8 weights are not finite"):
        quantize_weight(torch.tensor([[1.0, float("nan"), 0, 0], [1, 1, 1, 1]]), bits=8)


def test_nibbles_unpack_to_what_was_packed() -> None:
    values = torch.arange(-8, 8, dtype=torch.int8).repeat(3, 2)
    packed = pack_nibbles(values)
    assert packed.shape == (3, 16)
    assert torch.equal(unpack_nibbles(packed), values)
    assert packed[0, 0] == 0 | (4 << 4)  # inputs 0 and 4 share the first byte


@pytest.mark.parametrize("group_size", [32, 64])
def test_groups_lose_less_than_with_the_scale_of_their_largest_weight(group_size: int) -> None:
    weight = torch.randn(16, 256, generator=torch.Generator().manual_seed(0))
    layer = QuantizedLinear(256, 16, bias=False, bits=4, group_size=group_size)
    layer.fill(weight)
    groups = weight.unflatten(1, (-1, group_size))
    scale = groups.abs().amax(dim=2, keepdim=True) / 7
    nearest = ((groups / scale).round() * scale).flatten(1)
    assert (layer.floats() - weight).norm() < 0.93 * (nearest - weight).norm()


def test_values_that_int4_holds_exactly_come_back_exactly() -> None:
    weight = torch.arange(-8.0, 8.0).repeat(4, 5) * torch.tensor([[0.5], [1], [-2], [0]])  # 80 inputs: filled up to 128
    layer = QuantizedLinear(80, 4, bias=False, bits=4, group_size=64)
    layer.fill(weight)
    assert layer.weight.shape == (4, 64)
    assert torch.equal(layer.floats(), weight)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_quantised_layer_multiplies_with_its_dequantised_weights(bits: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(24, 64, generator=generator), torch.randn(1, 3, 64, generator=generator)
    layer = QuantizedLinear(64, 24, bias=False, bits=bits, group_size=32)
    layer.fill(weight)
    torch.testing.assert_close(layer(x), x @ layer.floats().T)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("scheme", "bound"), [(INT8, 0.03), (INT4, 0.25), (Scheme(bits=4, head_bits=4), 0.25)])
def test_quantised_model_stays_close_and_survives_saving(
    tokenizer: Tokenizer, tmp_path: Path, tied: bool, scheme: Scheme, bound: float
) -> None:
    model = make_model(tokenizer, tied=tied)
    input_ids = torch.arange(20)[None]
    exact = model(input_ids)
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    folder = quantize(tmp_path / "model", tmp_path / "small", scheme=scheme)
    loaded = load_model(folder)
    error = (loaded(input_ids) - exact).norm() / exact.norm()
    assert error < bound
    assert (loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()) == tied
    quantize_(model, scheme)
    assert torch.equal(model(input_ids), loaded(input_ids))


@pytest.mark.parametrize(("form", "share"), [("int8", 0.32), ("int4", 0.24)])
def test_quantised_folder_is_a_fraction_of_the_size(
    tokenizer: Tokenizer, tmp_path: Path, form: str, share: float
) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    folder = export(tmp_path / "model", tmp_path / form, to=form)
    sizes = [(path / "model.safetensors").stat().st_size for path in (tmp_path / "model", folder)]
    assert sizes[1] < share * sizes[0]


@pytest.mark.parametrize("form", ["int8", "int4", "hf"])
def test_an_exported_model_keeps_its_stop_ids_and_sampling(tokenizer: Tokenizer, tmp_path: Path, form: str) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    folder = export(tmp_path / "model", tmp_path / form, to=form)
    assert 5 in Tokenizer.load(folder).stop_ids


def test_quantising_twice_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    folder = quantize(tmp_path / "model", tmp_path / "int8")
    with pytest.raises(ModelError, match="quantised already"):
        quantize(folder, tmp_path / "again")


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "gptq", "bits": 4},
        {"quant_method": "astrai", "bits": 3},
        {"quant_method": "astrai", "bits": 4.0},
        {"quant_method": "astrai", "bits": 4, "group_size": 64.0},
        {"bits": 8},
        {},
    ],
)
def test_other_ways_of_quantising_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="is quantised as"):
        Scheme.from_config(settings)


def test_whole_numbers_of_another_width_are_named(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    path = quantize(tmp_path / "model", tmp_path / "int8") / "model.safetensors"
    weights = load_file(path)
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].to(torch.int64)
    save_file(weights, path)
    with pytest.raises(ModelError, match=r"up_proj\.weight holds torch\.int64, config\.json asks for torch\.int8"):
        load_model(path.parent)
