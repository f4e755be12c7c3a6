"""Folders that are not what they say: every one is refused in a sentence, before anything large is read."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.model.checkpoint import find_model, load_config, load_model, save_model
from core.model.transformer import Transformer

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>401</title></head><body>Gated</body></html>"


@pytest.fixture
def folder(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    model = Transformer(ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size}))
    model.init_weights(seed=3)
    save_model(model, tmp_path / "model", tokenizer=tokenizer)
    return tmp_path / "model"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LFS, "is a pointer of git-lfs, the file itself was not downloaded. Run `git lfs pull`"),
        (PAGE, r"is a page of the server \('<!DOCTYPE html>.*Accept the model's terms and log in"),
        (b"Access to model a/b is restricted. You must be logged in.", "is a page of the server"),
        (b"Invalid credentials in Authorization header", "is a page of the server"),
    ],
)
def test_what_a_server_or_git_put_in_the_place_of_a_file_is_named(
    folder: Path, name: str, content: bytes, message: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{name} {message}"):
        load_model(folder)


def test_a_pointer_in_the_place_of_the_tokenizer_is_named(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer.json").write_bytes(LFS)
    with pytest.raises(ModelError, match=r"tokenizer\.json is a pointer of git-lfs"):
        Tokenizer.load(folder)


def index(folder: Path) -> None:
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize(
    ("half", "prepare", "message"),
    [
        ("model.safetensors.incomplete", None, "but a download that did not end: model.safetensors.incomplete"),
        (".cache/huggingface/download/x.incomplete", None, "but a download that did not end: x.incomplete"),
        ("model.safetensors.part", index, "lacks 2 of 2 weight files: .* Unfinished: 1"),
    ],
)
def test_a_half_download_says_so(folder: Path, half: str, prepare: Callable[[Path], None] | None, message: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / half).parent.mkdir(parents=True, exist_ok=True)
    (folder / half).write_bytes(b"1")
    (prepare or (lambda _: None))(folder)
    with pytest.raises(ModelError, match=message):
        load_model(folder)


def test_a_download_that_has_no_config_yet_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json.incomplete").write_bytes(b"{")
    with pytest.raises(ModelError, match=r"has no config\.json, but a download that did not end"):
        load_config(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to("../elsewhere")
    with pytest.raises(ModelError, match=rf"{name} in \S+ is a link to \S+elsewhere, outside the folder"):
        load_model(folder)


def test_links_of_the_hubs_cache_and_within_the_folder_are_followed(folder: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--some-model"
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in list(folder.iterdir()):
        path.rename(repository / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert load_model(snapshot).config == load_config(snapshot)
    (tmp_path / "secret").write_bytes(b"1")
    (snapshot / "other").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError, match=r"other in .* is a link to .*secret, outside the folder"):
        load_model(snapshot)


def test_a_link_to_the_whole_folder_is_no_link_out_of_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert load_model(find_model(tmp_path / "link")).config.hidden_size == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 2**17, "intermediate_size": 2**19, "num_hidden_layers": 64}, r"and \d+ more"),
        ({"num_attention_heads": 1024, "head_dim": 1024}, r"q_proj\.weight is \[64, 64\], config\.json says \[1048576"),
        ({"num_key_value_heads": 0}, r"k_proj\.weight is \[32, 64\], config\.json says \[64, 64\]"),
        ({"vocab_size": -1}, "needs positive numbers: vocab_size is -1"),
        ({"hidden_size": "64"}, "needs positive numbers: hidden_size is '64'"),
        ({"rope_theta": "NaN"}, "rope_theta is 'NaN', it must be float"),
    ],
)
def test_a_config_that_promises_a_trillion_parameters_takes_no_memory(
    folder: Path, change: dict[str, object], message: str
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message):
        load_model(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors", "fp8"])
def test_weights_that_others_quantised_keep_their_sentence(folder: Path, method: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    settings = {"quantization_config": {"quant_method": method, "bits": 4}}
    (folder / "config.json").write_text(json.dumps({**config, **settings}))
    with pytest.raises(ModelError, match=f"is quantised as '{method}' with 4 bits, which is not supported"):
        load_model(folder)


def test_another_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"1")
    with pytest.raises(ModelError, match=r"x\.bin is not a folder. Give the path of a folder .* or of a GGUF file"):
        find_model(tmp_path / "x.bin")
    with pytest.raises(ModelError, match=r"none\.gguf is not a folder"):
        find_model(tmp_path / "none.gguf")
