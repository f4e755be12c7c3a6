"""Models through GGUF and back: the same shape, the same logits, the same tokenizer; bad files are named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers

import core
from core.config.param_config import SamplingConfig
from core.data.gguf_file import open_gguf
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError, ModelError
from core.files import write_json
from core.model.checkpoint import GENERATION, find_model, load_config, load_model, load_sampling, save_model
from core.model.convert import export, quantize
from core.model.gguf_read import QUANTISED, _read
from core.model.quantize import INT4, INT8, Scheme, quantize_
from tests.core.model.gguf_models import FAMILIES, make

IDS = torch.arange(4, 64)[None]


@pytest.fixture
def llama(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    make("llama", tokenizer, tmp_path / "llama")
    return tmp_path / "llama"


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_out_and_back_gives_the_same_shape_and_logits(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make(name, tokenizer, tmp_path / "model")
    path = export(tmp_path / "model", tmp_path / "model.gguf", to="gguf", dtype="f32")
    back = load_model(path)
    assert torch.equal(back(IDS), model(IDS))
    changed = {"model_type": "llama", "sliding_window": None, "max_position_embeddings": 128}
    expected = {**model.config.to_dict(), **(changed if model.config.sliding_window else {}), "initializer_range": 0.02}
    assert back.config.to_dict() == expected


@pytest.mark.parametrize(("dtype", "error"), [("f16", 0.02), ("q8_0", 0.5), ("q4_0", 3.0)])
@torch.no_grad()
def test_smaller_types_stay_near(llama: Path, tmp_path: Path, dtype: str, error: float) -> None:
    path = export(llama, tmp_path / "x.gguf", to="gguf", dtype=dtype)
    logits = load_model(llama)(IDS)
    assert 0 < float((load_model(path, dtype=torch.float32)(IDS) - logits).abs().max()) < error


def test_the_tokenizer_comes_back_with_template_stops_and_start(
    llama: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    back = Tokenizer.load(export(llama, tmp_path / "x.gguf", to="gguf"))
    for text in ("The quick 狐狸 jumps\n\n  over 12345 \u2581 🦊", "<s>hi</s><|im_end|>", "\u2581", ""):
        assert back.encode(text) == tokenizer.encode(text)
        assert back.decode(back.encode(text)) == text
    assert (back.stop_ids, back.start_ids) == (tokenizer.stop_ids, tokenizer.start_ids)
    assert (back.chat_template, back.added_tokens) == (tokenizer.chat_template, tokenizer.added_tokens)


def test_a_chat_from_the_file_is_the_chat_from_the_folder(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "holder").mkdir()
    export(llama, tmp_path / "holder" / "x.gguf", to="gguf", dtype="f32")
    messages = [{"role": "user", "content": "你好"}]
    places = (llama, tmp_path / "holder" / "x.gguf", tmp_path / "holder")
    texts = [core.load(place).chat(messages, temperature=0, max_new_tokens=12).read() for place in places]
    assert texts[0] == texts[1] == texts[2]


def test_the_starter_goes_out_as_what_its_int8_weights_stand_for(tmp_path: Path) -> None:
    starter = Path("models/starter")
    path = export(starter, tmp_path / "starter.gguf", to="gguf", dtype="f32")
    with torch.no_grad():
        expected = load_model(starter, dtype=torch.float32)(IDS)
        torch.testing.assert_close(load_model(path)(IDS), expected, atol=1e-4, rtol=0)
    assert load_sampling(path) == SamplingConfig(temperature=0.7, top_p=0.9)


@torch.no_grad()
def test_a_file_becomes_a_folder_that_transformers_loads(llama: Path, tmp_path: Path) -> None:
    write_json(llama / GENERATION, {"do_sample": True, "temperature": 0.3})
    path = export(llama, tmp_path / "x.gguf", to="gguf", dtype="f32")
    assert load_sampling(path) == SamplingConfig(temperature=0.3)
    folder = export(path, tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(theirs(IDS).logits, load_model(llama)(IDS), atol=1e-5, rtol=0)
    text = "The quick 狐狸 jumps\n over"
    own = Tokenizer.load(llama)
    assert transformers.AutoTokenizer.from_pretrained(folder)(text)["input_ids"] == [1, *own.encode(text)]
    int8 = load_model(quantize(path, tmp_path / "int8"), dtype=torch.float32)
    assert float((int8(IDS) - theirs(IDS).logits).abs().max()) < 0.5


@pytest.mark.parametrize("kind", sorted(QUANTISED), ids=lambda kind: kind.name)
def test_every_type_that_is_claimed_is_dequantised_in_rows(kind: gguf.GGMLQuantizationType, tmp_path: Path) -> None:
    """The same values as the package gives for the whole tensor at once."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    content = np.random.default_rng(1).integers(0, 60, (5, 512 // block * size), dtype=np.uint8)
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_tensor("t", content, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(content, kind)
    assert expected.shape == (5, 512)
    np.testing.assert_array_equal(_read(open_gguf(tmp_path / "x.gguf").tensors["t"]).numpy(), expected)


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A copy of a GGUF file whose metadata and tensors are changed."""
    file = open_gguf(path)
    metadata, tensors = dict(file.metadata), dict(file.tensors)
    change(metadata, tensors)
    writer = gguf.GGUFWriter(path.with_name("changed.gguf"), str(metadata.pop("general.architecture")))
    for key, value in metadata.items():
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kinds.get(type(value), writer.add_array)(key, value)
    for name, tensor in tensors.items():
        content = np.array(tensor.content).reshape(*tensor.shape[:-1], -1)
        writer.add_tensor(name, content, raw_dtype=tensor.kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_name("changed.gguf")


def setting(key: str, value: object) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    return lambda metadata, _: metadata.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("general.architecture", "gemma2"), "holds a model of 'gemma2'. Use one of: llama, qwen2, qwen3"),
        (setting("llama.expert_count", 8), r"a mixture of 8 experts \(MoE\)"),
        (setting("llama.block_count", 10**6), "num_hidden_layers is 1000000, the maximum is 1024"),
        (setting("llama.block_count", 1024), r"layers\.2\.\S+ is missing.* and \d+ more"),
        (setting("llama.attention.head_count", [4, 2]), "head_count differs between layers"),
        (setting("llama.attention.value_length", 32), "value_length is 32, a head has 64"),
        (setting("llama.rope.dimension_count", 32), "dimension_count is 32, a head has 64"),
        (setting("llama.rope.scaling.type", "longrope"), "'longrope' is not supported"),
        (
            setting("llama.feed_forward_length", 300),
            r"down_proj\.weight is \[256, 256\], config.json says \[256, 300\]",
        ),
        (setting("tokenizer.ggml.model", "bert"), "The tokenizer is of type 'bert'"),
        (setting("tokenizer.ggml.scores", [1.0]), "420 tokens and 1 scores"),
        (lambda _, tensors: tensors.pop("token_embd.weight"), "has no token_embd.weight"),
        (lambda _, tensors: tensors.pop("blk.1.attn_k.weight"), r"layers\.1\.self_attn\.k_proj\.weight is missing"),
        (lambda _, tensors: tensors.update({"surprise": tensors["output_norm.weight"]}), "surprise is unknown"),
        (
            lambda _, tensors: tensors.update({"rope_freqs.weight": tensors["output_norm.weight"]}),
            "rope_freqs.weight is",
        ),
    ],
)
def test_what_we_do_not_run_is_refused_in_a_sentence(
    llama: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None], message: str
) -> None:
    path = rewritten(export(llama, tmp_path / "x.gguf", to="gguf"), change)
    with pytest.raises(ModelError, match=message):
        core.load(path)


def test_factors_that_are_not_llama_3s_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make("llama3 scaling", tokenizer, tmp_path / "model")
    path = export(tmp_path / "model", tmp_path / "x.gguf", to="gguf")
    assert load_config(path).rope_scaling is not None
    with pytest.raises(ModelError, match=r"rope_freqs\.weight is not Llama 3's scaling"):
        load_config(rewritten(path, setting("llama.rope.scaling.original_context_length", 4096)))


def test_a_folder_of_several_files_asks_for_one(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for name in ("a.gguf", "b.gguf"):
        export(llama, tmp_path / "many" / name, to="gguf")
    with pytest.raises(ModelError, match=r"holds 2 GGUF models: a\.gguf, b\.gguf"):
        find_model(tmp_path / "many")


def test_a_place_or_type_that_does_not_fit_is_named(llama: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not end in \.gguf"):
        export(llama, tmp_path / "x", to="gguf")
    with pytest.raises(ConfigError, match="dtype bfloat16 is for hf form, and to is gguf: take one of f16, f32"):
        export(llama, tmp_path / "x.gguf", to="gguf", dtype="bfloat16")
    (tmp_path / "x.gguf").write_bytes(b"mine")
    with pytest.raises(ModelError, match=r"x\.gguf exists already"):
        export(llama, tmp_path / "x.gguf", to="gguf")
    assert (tmp_path / "x.gguf").read_bytes() == b"mine"


def test_weights_beyond_half_precision_ask_for_f32(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = make("llama", tokenizer, tmp_path / "model")
    with torch.no_grad():
        model.model.embed_tokens.weight[0, 0] = 1e6
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    with pytest.raises(ModelError, match=r"token_embd\.weight holds values beyond 65504.*Export it with f32"):
        export(tmp_path / "model", tmp_path / "x.gguf", to="gguf")
    assert not (tmp_path / "x.gguf").exists()


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_matrices_quantised_as_they_are_read_are_those_of_the_whole_model(
    llama: Path, tmp_path: Path, scheme: Scheme
) -> None:
    whole = load_model(llama)
    quantize_(whole, scheme)
    path = export(llama, tmp_path / "x.gguf", to="gguf", dtype="f32")
    for place in (llama, path):
        assert torch.equal(load_model(place, scheme=scheme)(IDS), whole(IDS))


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=lambda scheme: scheme.name)
@torch.no_grad()
def test_our_quantised_folders_go_out_as_what_their_weights_stand_for(
    llama: Path, tmp_path: Path, scheme: Scheme
) -> None:
    quantised = quantize(llama, tmp_path / "small", scheme=scheme)
    back = load_model(export(quantised, tmp_path / "x.gguf", to="gguf", dtype="f32"))
    torch.testing.assert_close(back(IDS), load_model(quantised)(IDS), atol=1e-4, rtol=0)
