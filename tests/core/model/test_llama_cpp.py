"""llama.cpp itself reads what we write, and we read what it quantises: logits, greedy text, token ids, weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.data.gguf_file import open_gguf
from core.data.tokenizer import Tokenizer
from core.model.checkpoint import load_model, open_model
from core.model.convert import export
from core.model.transformer import Transformer
from tests.core.data.gguf_tokenizers import KINDS, TEXTS, byte_level, with_space_prefix
from tests.core.model.gguf_models import FAMILIES, SHAPE, make
from tests.peers import llama_cpp_peer

IDS = list(range(4, 100))
# What llama.cpp's own quantiser makes, with the types that it puts in.
MIXTURES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS", "BF16")


@pytest.fixture(scope="module", autouse=True)
def peer() -> None:
    llama_cpp_peer.require()


@torch.no_grad()
def greedy(model: Transformer, ids: list[int], count: int) -> list[int]:
    found = list(ids)
    for _ in range(count):
        found.append(int(model(torch.tensor([found]))[0, -1].argmax()))
    return found[len(ids) :]


@torch.no_grad()
def test_every_family_has_the_same_logits_in_llama_cpp(tokenizer: Tokenizer, tmp_path: Path) -> None:
    models = {name: make(name, tokenizer, tmp_path / name) for name in FAMILIES}
    requests = [
        {
            "do": "logits",
            "ids": IDS,
            "model": str(export(tmp_path / name, tmp_path / f"{name}.gguf", to="gguf", dtype="f32")),
        }
        for name in models
    ]
    answers = llama_cpp_peer.ask(*requests)
    worst = {
        name: float((models[name](torch.tensor([IDS]))[0] - torch.tensor(theirs)).abs().max())
        for name, theirs in zip(models, answers, strict=True)
    }
    assert max(worst.values()) < 2e-4, worst


@torch.no_grad()
def test_weights_that_llama_cpp_quantised_are_dequantised_to_its_own_values(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    make("llama, untied, wide heads", tokenizer, tmp_path / "model")
    source = export(tmp_path / "model", tmp_path / "f16.gguf", to="gguf")
    requests = []
    for kind in MIXTURES:
        small, plain = str(tmp_path / f"{kind}.gguf"), str(tmp_path / f"{kind}-plain.gguf")
        requests.append({"do": "quantize", "model": str(source), "output": small, "kind": f"MOSTLY_{kind}"})
        requests.append({"do": "quantize", "model": small, "output": plain, "kind": "ALL_F32"})
    assert set(llama_cpp_peer.ask(*requests)) == {0}
    kinds = set()
    for kind in MIXTURES:
        kinds |= {tensor.kind.name for tensor in open_gguf(tmp_path / f"{kind}.gguf").tensors.values()}
        _, ours = open_model(tmp_path / f"{kind}.gguf")
        _, theirs = open_model(tmp_path / f"{kind}-plain.gguf")
        for name, tensor in ours.items():
            torch.testing.assert_close(tensor.read().float(), theirs[name].read().float(), atol=0, rtol=1e-6)
    assert kinds >= {"F32", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"}


def test_the_starter_writes_the_same_greedy_text_in_llama_cpp(tmp_path: Path) -> None:
    starter = Path("models/starter")
    tokenizer = Tokenizer.load(starter)
    prompts = [[*tokenizer.start_ids, *tokenizer.encode(text)] for text in ("Once upon a time", "今天天气")]
    for dtype in ("f32", "f16", "q8_0", "q4_0"):
        path = export(starter, tmp_path / f"{dtype}.gguf", to="gguf", dtype=dtype)
        model = load_model(path, dtype=torch.float32)
        theirs = llama_cpp_peer.ask(*({"do": "greedy", "model": str(path), "ids": ids, "count": 20} for ids in prompts))
        assert theirs == [greedy(model, ids, 20) for ids in prompts], dtype


def test_the_starters_tokenizer_gives_the_same_ids_in_llama_cpp(tmp_path: Path) -> None:
    """Except for a real U+2581, which is a space to llama.cpp."""
    path = export(Path("models/starter"), tmp_path / "x.gguf", to="gguf")
    tokenizer = Tokenizer.load(Path("models/starter"))
    plain, begun, marked = llama_cpp_peer.ask(
        {"do": "tokenize", "model": str(path), "texts": TEXTS},
        {"do": "tokenize", "model": str(path), "texts": ["hello"], "add_bos": True},
        {"do": "tokenize", "model": str(path), "texts": ["a\u2581b"]},
    )
    assert plain == [tokenizer.encode(text) for text in TEXTS]
    assert begun == [[*tokenizer.start_ids, *tokenizer.encode("hello")]]
    assert marked == [tokenizer.encode("a b")]
    assert Tokenizer.load(path).encode("a\u2581b") == tokenizer.encode("a\u2581b")


def test_every_way_of_cutting_texts_gives_the_same_ids_in_llama_cpp(tokenizer: Tokenizer, tmp_path: Path) -> None:
    make("llama", tokenizer, tmp_path / "model")
    config = (tmp_path / "model" / "config.json").read_text()
    folders = {kind: byte_level(kind, tmp_path / kind) for kind in KINDS}
    folders["space prefix"] = with_space_prefix(tokenizer, tmp_path / "space prefix")
    requests = []
    for name, folder in folders.items():
        (folder / "config.json").write_text(config.replace('"vocab_size": 420', '"vocab_size": 800'))
        weights = load_file(tmp_path / "model" / "model.safetensors")
        weights["model.embed_tokens.weight"] = torch.randn(800, SHAPE["hidden_size"])
        save_file(weights, folder / "model.safetensors")
        path = export(folder, tmp_path / f"{name}.gguf", to="gguf")
        requests.append({"do": "tokenize", "model": str(path), "texts": TEXTS})
    for name, theirs in zip(folders, llama_cpp_peer.ask(*requests), strict=True):
        own = Tokenizer.load(folders[name])
        different = [text for text, ids in zip(TEXTS, theirs, strict=True) if own.encode(text) != ids]
        assert different == [], name
