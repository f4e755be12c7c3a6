"""Model folders: what is written reads back, here and in transformers; what is broken is refused by name."""

import json
import pickle
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import load_model, save_model
from core.model.transformer import Transformer


@pytest.fixture
def model(tokenizer: Tokenizer) -> Transformer:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "eos_token_id": tokenizer.eos_id}
    model = Transformer(ModelConfig.from_dict(values)).eval()
    model.init_weights(seed=3)
    return model


@pytest.fixture
def folder(model: Transformer, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    return tmp_path / "model"


@torch.no_grad()
def test_saved_model_reads_back_with_equal_logits(model: Transformer, folder: Path) -> None:
    input_ids = torch.arange(12)[None]
    assert torch.equal(load_model(folder)(input_ids), model(input_ids))


@torch.no_grad()
def test_transformers_loads_our_folder_with_equal_logits_and_ids(
    model: Transformer, folder: Path, tokenizer: Tokenizer
) -> None:
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    input_ids = torch.arange(12)[None]
    torch.testing.assert_close(theirs(input_ids).logits, model(input_ids), atol=1e-5, rtol=0)
    text = "The quick 狐狸 jumps\n over"
    their_ids = transformers.AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    assert their_ids == tokenizer.encode(text)


@torch.no_grad()
def test_shards_with_an_index_read_back(model: Transformer, tmp_path: Path) -> None:
    save_model(model, tmp_path, max_shard_bytes=40_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    input_ids = torch.arange(12)[None]
    assert torch.equal(load_model(tmp_path)(input_ids), model(input_ids))


def test_a_missing_shard_is_named(model: Transformer, tmp_path: Path) -> None:
    save_model(model, tmp_path, max_shard_bytes=40_000)
    victim = sorted(tmp_path.glob("model-*.safetensors"))[1]
    victim.unlink()
    with pytest.raises(ModelError, match=rf"lacks 1 of \d+ weight files: {victim.name}"):
        load_model(tmp_path)


def test_wrong_shapes_missing_and_unknown_tensors_are_all_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    weights["surprise"] = torch.zeros(1)
    weights["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 5)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    for part in ("model.norm.weight is missing", "surprise is unknown", "up_proj.weight is [3, 5], config.json says"):
        assert part in caught.value.message


def test_a_pickle_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*can run code"):
        load_model(folder)


def test_a_pickle_under_the_name_of_safetensors_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        load_model(folder)


def test_a_truncated_file_is_refused_with_its_size(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"5,000 bytes\) is not a whole safetensors file"):
        load_model(folder)


def test_an_index_that_leads_outside_is_refused(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="points outside its folder"):
        load_model(folder)


def test_a_config_that_is_no_json_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not readable JSON"):
        load_model(folder)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        load_model(tmp_path)


def test_a_config_of_absurd_size_allocates_nothing(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 2**40}))
    with pytest.raises(
        ModelError, match=r"embed_tokens\.weight is \[\d+, 64\], config\.json says \[1099511627776, 64\]"
    ):
        load_model(folder)
