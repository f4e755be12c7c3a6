"""Model folders: what is written reads back, here and in transformers; what is broken is refused by name."""

import json
import pickle
import resource
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from core.config.model_config import PRESETS, ModelConfig
from core.config.param_config import SamplingConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import GENERATION, find_model, load_model, load_sampling, save_model
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 2**40}, "vocab_size is 1099511627776, the maximum is 16777216"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, the maximum is 1024"),
        ({"hidden_size": 2**60}, r"hidden_size is \d+, the maximum is 131072"),
        ({"max_position_embeddings": 10**15}, "max_position_embeddings is 1000000000000000, the maximum"),
        ({"vocab_size": 2**24}, r"embed_tokens\.weight is \[420, 64\], config\.json says \[16777216, 64\]"),
        ({"num_hidden_layers": 1000}, r"layers\.2\.\S+ is missing.* and \d+ more"),
    ],
)
def test_a_config_of_absurd_size_allocates_nothing(folder: Path, change: dict[str, int], message: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message):
        load_model(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@torch.no_grad()
def test_a_context_of_millions_costs_nothing_until_it_is_used(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    input_ids = torch.arange(12)[None]
    expected = load_model(folder)(input_ids)
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 2**27}))
    model = load_model(folder)
    assert torch.equal(model(input_ids), expected)
    assert model._rotary is not None
    assert len(model._rotary[0]) == 1024


def test_integers_in_the_place_of_weights_are_named(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"].to(torch.int8)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"norm\.weight holds torch\.int8, config\.json asks for torch\.float32"):
        load_model(folder)


def test_foreign_quantisation_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    for settings in ({"quant_method": "gptq", "bits": 4}, "gptq", {"quant_method": "astrai", "bits": "x"}):
        (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
        with pytest.raises(ModelError, match=r"is quantised as .* which is not supported"):
            load_model(folder)


def test_links_that_lead_round_in_a_circle_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(ModelError, match=r"loop is not a folder"):
        find_model(tmp_path / "loop")
    for name, message in (("model.safetensors", r"has no model\.safetensors"), ("config.json", "symbolic links")):
        (folder / name).unlink()
        (folder / name).symlink_to(folder / name)
        with pytest.raises(ModelError, match=message):
            load_model(folder)


def test_an_index_without_a_map_is_refused(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": ["a"]}')
    with pytest.raises(ModelError, match="names no weight files"):
        load_model(folder)


def test_a_full_disk_is_named_with_sizes_and_leaves_no_half_file(model: Transformer, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(ModelError, match=r"could not be written: .*\(0\.5 MB needed, [\d.]+ MB free\)"):
            save_model(model, tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "full").iterdir()) == []


def test_a_run_folder_stands_for_its_model_and_before_that_for_its_newest_checkpoint(
    model: Transformer, tmp_path: Path
) -> None:
    for name in ("step-00000002", "step-00000010"):
        save_model(model, tmp_path / "run" / "checkpoints" / name)
    assert find_model(tmp_path / "run").name == "step-00000010"
    save_model(model, tmp_path / "run" / "model")
    assert find_model(str(tmp_path / "run")).name == "model"


def test_a_hub_name_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"nothing is downloaded by itself.*launch.py download someone/some-model"):
        find_model("someone/some-model")


def test_a_hub_name_in_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository, commit = tmp_path / "models--someone--some-model", "0" * 40
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert find_model("someone/some-model") == repository / "snapshots" / commit


@pytest.mark.parametrize(
    ("stored", "sampling"),
    [
        ({}, SamplingConfig()),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05},
            SamplingConfig(temperature=0.6, top_k=20, top_p=0.8, repetition_penalty=1.05),
        ),
        ({"temperature": 0.6, "repetition_penalty": 1.05, "max_length": 9}, SamplingConfig(repetition_penalty=1.05)),
        ({"do_sample": True, "top_p": None, "eos_token_id": [1, 2]}, SamplingConfig()),
    ],
)
def test_a_model_says_how_it_wants_to_be_sampled(
    folder: Path, stored: dict[str, object], sampling: SamplingConfig
) -> None:
    (folder / GENERATION).write_text(json.dumps(stored), encoding="utf-8")
    assert load_sampling(folder) == sampling


def test_sampling_that_makes_no_sense_is_named(folder: Path) -> None:
    (folder / GENERATION).write_text('{"do_sample": true, "temperature": -1}', encoding="utf-8")
    with pytest.raises(ModelError, match=r"generation_config\.json of .*temperature is -1"):
        load_sampling(folder)
