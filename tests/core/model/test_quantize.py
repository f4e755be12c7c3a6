"""int8 weights: within the rounding bound, tied once, saved and loaded."""

from pathlib import Path

import pytest
import torch

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import load_model, save_model
from core.model.convert import export, quantize
from core.model.quantize import QuantizedLinear, quantize_, quantize_weight
from core.model.transformer import Transformer


def make_model(tokenizer: Tokenizer, *, tied: bool) -> Transformer:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "tie_word_embeddings": tied}
    model = Transformer(ModelConfig.from_dict(values)).eval()
    model.init_weights(seed=5)
    return model


def test_rows_round_to_half_a_step_of_their_own_scale() -> None:
    weight = torch.randn(7, 33, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 3, 7)[:, None]
    quantised, scale = quantize_weight(weight)
    error = (quantised.float() * scale[:, None] - weight).abs()
    assert (error <= scale[:, None] * 0.5001).all()
    assert int(quantised.abs().max()) == 127


def test_a_row_of_zeros_stays_zero_and_nan_is_refused() -> None:
    quantised, scale = quantize_weight(torch.zeros(2, 4))
    assert not quantised.any()
    assert torch.isfinite(scale).all()
    with pytest.raises(ModelError, match="1 of 8 weights are not finite"):
        quantize_weight(torch.tensor([[1.0, float("nan"), 0, 0], [1, 1, 1, 1]]))


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_kernel_and_unpacked_product_agree_with_the_dequantised_one(rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn(24, 64, generator=generator), torch.randn(1, rows, 64, generator=generator)
    layer = QuantizedLinear(64, 24, bias=False)
    layer.weight, layer.weight_scale = quantize_weight(weight)
    expected = x @ (layer.weight.float() * layer.weight_scale[:, None]).T
    torch.testing.assert_close(layer(x), expected, rtol=0.01, atol=0.06)


@torch.no_grad()
@pytest.mark.parametrize("tied", [True, False])
def test_quantised_model_stays_close_and_survives_saving(tokenizer: Tokenizer, tmp_path: Path, tied: bool) -> None:
    model = make_model(tokenizer, tied=tied)
    input_ids = torch.arange(20)[None]
    exact = model(input_ids)
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    folder = quantize(tmp_path / "model", tmp_path / "int8")
    loaded = load_model(folder)
    error = (loaded(input_ids) - exact).norm() / exact.norm()
    assert error < 0.03
    assert (loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()) == tied
    quantize_(model, 8)
    assert torch.equal(model(input_ids), loaded(input_ids))


def test_quantised_folder_is_a_quarter_of_the_size(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    folder = export(tmp_path / "model", tmp_path / "int8", to="int8")
    sizes = [(path / "model.safetensors").stat().st_size for path in (tmp_path / "model", folder)]
    assert sizes[1] < 0.32 * sizes[0]


@pytest.mark.parametrize("form", ["int8", "hf"])
def test_an_exported_model_keeps_its_stop_ids_and_sampling(tokenizer: Tokenizer, tmp_path: Path, form: str) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    (tmp_path / "model" / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    folder = export(tmp_path / "model", tmp_path / form, to=form)
    assert 5 in Tokenizer.load(folder).stop_ids


def test_quantising_twice_and_unknown_widths_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(make_model(tokenizer, tied=True), tmp_path / "model", tokenizer=tokenizer)
    folder = quantize(tmp_path / "model", tmp_path / "int8")
    with pytest.raises(ModelError, match="quantised already"):
        quantize(folder, tmp_path / "again")
    with pytest.raises(ModelError, match="4-bit weights cannot be run yet"):
        quantize(tmp_path / "model", tmp_path / "int4", bits=4)
