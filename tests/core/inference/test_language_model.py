"""What a loaded model keeps beside its weights: prefixes on disk and adapters."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import core
from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import GenerationError, ModelError
from core.inference import prefix_file
from core.inference.generator import LanguageModel
from core.inference.runner import BLOCK_TOKENS
from core.model.checkpoint import save_model
from core.model.peft_format import linear_shapes
from core.model.transformer import Transformer
from core.model.weight_files import weights_hash
from tests.core.model.test_lora import write_adapter

SYSTEM = [{"role": "system", "content": "the quick brown fox jumps over a lazy dog and sleeps under an old tree " * 2}]
CHAT = [*SYSTEM, {"role": "user", "content": "and then"}]
GREEDY = {"max_new_tokens": 8, "temperature": 0.0}


def save_tiny(tokenizer: Tokenizer, folder: Path, seed: int) -> Path:
    values = {**PRESETS["tiny"].to_dict(), "vocab_size": tokenizer.vocab_size, "initializer_range": 0.3}
    network = Transformer(ModelConfig.from_dict(values))
    network.init_weights(seed=seed)
    save_model(network, folder, tokenizer=tokenizer)
    return folder


@pytest.fixture(scope="module")
def folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tokenizer, tmp_path_factory.mktemp("tiny"), seed=2)


@pytest.fixture
def model(folder: Path) -> LanguageModel:
    return core.load(folder)


def test_a_saved_prefix_is_not_computed_again_by_the_next_process(
    model: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "prefixes" / "system.safetensors"
    count = model.save_prefix(path, SYSTEM)
    assert count >= BLOCK_TOKENS
    assert count % BLOCK_TOKENS == 0
    other = core.load(folder)
    assert other.load_prefix(path) == count
    stream = other.chat(CHAT, **GREEDY)
    assert stream.read() == model.chat(CHAT, **GREEDY).read() == core.load(folder).chat(CHAT, **GREEDY).read()
    assert stream.stats.reused_tokens == count
    pinned = other.engine.call(lambda scheduler: scheduler.prefixes.num_pinned)
    assert pinned == count // BLOCK_TOKENS


def test_damaged_and_foreign_prefixes_are_passed_over_with_one_line(
    model: LanguageModel, tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "system.safetensors"
    model.save_prefix(path, SYSTEM)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    cases = {
        "its content has changed": bytes(flipped),
        "header": whole[:50],
        "No such file": None,
    }
    for reason, content in cases.items():
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert model.load_prefix(path) == 0
        assert len(caplog.records) == 1
        assert reason.lower() in caplog.text.lower()
        path.touch()
    path.write_bytes(whole)
    tensors = load_file(path)
    prefix_file.save(path, tensors["ids"].tolist(), tensors["blocks"][:, 8:].contiguous(), model._layout)
    assert model.load_prefix(path) == 0
    assert "its content has changed" in caplog.text
    path.write_bytes(whole)
    caplog.clear()
    stranger = core.load(save_tiny(tokenizer, tmp_path / "stranger", seed=3))
    assert stranger.load_prefix(path) == 0
    assert "written for another model" in caplog.text


def test_a_prefix_that_leaves_no_room_for_a_full_text_is_not_pinned(folder: Path, tmp_path: Path) -> None:
    model = core.load(folder, max_running=1)
    assert model.save_prefix(tmp_path / "a.safetensors", SYSTEM) > 0
    assert model.engine.call(lambda scheduler: scheduler.prefixes.num_pinned) == 0
    assert model.chat(CHAT, **GREEDY).read()
    with pytest.raises(GenerationError, match="has at least 32 tokens"):
        model.save_prefix(tmp_path / "b.safetensors", [{"role": "system", "content": "a"}])


def adapter_folder(model: LanguageModel, folder: Path, seed: int) -> Path:
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (outputs, inputs) in linear_shapes(model.config).items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = torch.randn(4, inputs, generator=draw) / 4
        tensors[f"base_model.model.{name}.lora_B.weight"] = torch.randn(outputs, 4, generator=draw) / 4
    return write_adapter(folder, tensors)


def test_answers_of_two_adapters_and_none_at_once_equal_each_alone(
    model: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    names = {None: folder}
    for seed, name in enumerate(("poet", "clerk")):
        places = adapter_folder(model, tmp_path / name, seed)
        model.load_adapter(name, places)
        names[name] = shutil.copytree(folder, tmp_path / f"merged {name}")
        weights = load_file(folder / "model.safetensors")
        changes = load_file(places / "adapter_model.safetensors")
        for layer in linear_shapes(model.config):
            a, b = (changes[f"base_model.model.{layer}.lora_{half}.weight"] for half in "AB")
            weights[f"{layer}.weight"] += 2.0 * b @ a
        save_file(weights, names[name] / "model.safetensors")
    alone = {name: core.load(place).chat(CHAT, **GREEDY).read() for name, place in names.items()}
    assert len(set(alone.values())) == 3
    for _ in range(2):  # the second time from the cache
        streams = {name: model.chat(CHAT, adapter=name, **GREEDY) for name in names}
        assert {name: stream.read() for name, stream in streams.items()} == alone
    with pytest.raises(GenerationError, match="no adapter 'bard'; those that are loaded: clerk, poet"):
        model.chat(CHAT, adapter="bard")
    with pytest.raises(ModelError, match="There is an adapter 'poet' already"):
        model.load_adapter("poet", tmp_path / "poet")
    model.close()


def test_an_adapter_that_took_another_ones_name_answers_as_itself(
    model: LanguageModel, folder: Path, tmp_path: Path
) -> None:
    places = [adapter_folder(model, tmp_path / str(seed), seed) for seed in (1, 2)]
    fresh = core.load(folder, adapters={"one": places[0], "two": places[1]})
    expected = [fresh.chat(CHAT, adapter=name, **GREEDY).read() for name in fresh.adapters]
    answers = []
    for place in places:
        model.load_adapter("poet", place)
        stream = model.chat(CHAT, adapter="poet", **GREEDY)
        model.unload_adapter("poet")  # an answer that has begun is finished
        answers.append(stream.read())
        assert stream.stats.reused_tokens == 0
    assert answers == expected
    assert answers[0] != answers[1]
    assert model.adapters == []
    with pytest.raises(ModelError, match=r"There is no adapter 'poet'\. Loaded are: none"):
        model.unload_adapter("poet")
    with pytest.raises(ModelError, match="'' is no name for an adapter"):
        model.load_adapter("", places[0])
    for one in (model, fresh):
        one.close()


def name_base(adapter: Path, path: str, base_hash: str | None = None) -> Path:
    """Write an adapter's base into its settings."""
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    settings["base_model_name_or_path"] = path
    settings["astrai"] = {"base_weights_hash": base_hash}
    (adapter / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return adapter


def test_an_adapter_of_another_base_is_refused_wherever_that_lies(
    model: LanguageModel, folder: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = save_tiny(tokenizer, tmp_path / "other", seed=9)
    first = adapter_folder(model, tmp_path / "first", 1)
    model.load_adapter("moved, known by its hash", name_base(first, "/gone", weights_hash(folder)))
    model.load_adapter("a copy", name_base(first, str(shutil.copytree(folder, tmp_path / "copy"))))
    model.load_adapter("base not here, nothing known", name_base(first, "someone/base"))
    name_base(first, str(folder), weights_hash(folder))
    second = name_base(adapter_folder(model, tmp_path / "second", 2), "../first", weights_hash(first))
    model.load_adapter("of an adapter", second)
    answers = [core.load(second).chat(CHAT, **GREEDY), model.chat(CHAT, adapter="of an adapter", **GREEDY)]
    assert answers[0].read() == answers[1].read() != model.chat(CHAT, **GREEDY).read()
    with pytest.raises(ModelError, match=r"first was trained on .*other, and the model is .* are others"):
        model.load_adapter("other", name_base(first, str(other)))
    with pytest.raises(ModelError, match=r"weights hash to [0-9a-f]{12}…; those of .* hash to [0-9a-f]{12}…"):
        model.load_adapter("other", name_base(first, "/gone", weights_hash(other)))
    with pytest.raises(ModelError, match="first is an adapter of itself"):
        model.load_adapter("circle", name_base(first, "."))
    with pytest.raises(ModelError, match="first is an adapter of itself"):
        core.load(first)
    with pytest.raises(ModelError, match=r"holds no adapter\. Choose a folder with adapter_config\.json"):
        model.load_adapter("model", folder)
    assert len(model.adapters) == 4
    model.close()
