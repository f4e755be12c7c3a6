"""Which models can be chosen, and loading them in the background."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import core
from app.models import ModelChoice, ModelHolder, ModelState
from app.paths import models_dir, starter_dir
from core.config.model_config import PRESETS, ModelConfig
from core.data.tokenizer import Tokenizer
from core.errors import ModelError
from core.inference.generator import LanguageModel
from core.model.checkpoint import save_model
from core.model.transformer import Transformer
from tests.core.conftest import sentences

LOAD_S = 60


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model."""
    tokenizer = Tokenizer.train(sentences(400, seed=0), vocab_size=420)
    model = Transformer(PRESETS["tiny"])
    model.init_weights(seed=1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(model, folder, tokenizer=tokenizer)
    return folder


def test_the_given_folder_comes_first_then_the_starter_then_the_users_models(model_folder: Path) -> None:
    (models_dir() / "mine").symlink_to(model_folder, target_is_directory=True)
    (models_dir() / "no model").mkdir()
    (models_dir() / "a run").mkdir()
    (models_dir() / "a run" / "model").symlink_to(model_folder, target_is_directory=True)
    half_written = models_dir() / "half written"
    (half_written / "model").mkdir(parents=True)
    (half_written / "config.json").write_text("{}", encoding="utf-8")
    (half_written / "model" / "model.safetensors").touch()
    names = [choice.name for choice in ModelHolder(model_folder).choices()]
    assert [name for name in names if name != starter_dir().name] == ["tiny", "a run", "mine"]


def test_a_chosen_model_is_loaded_in_the_background(model_folder: Path) -> None:
    holder = ModelHolder()
    assert holder.state == ModelState.EMPTY
    holder.select(ModelChoice("tiny", model_folder))
    assert holder.wait(LOAD_S)
    assert holder.state == ModelState.READY
    assert holder.model().name == "tiny"


def test_choosing_another_model_ends_the_answers_and_frees_the_one_before(model_folder: Path, tmp_path: Path) -> None:
    holder = ModelHolder()
    holder.select(ModelChoice("tiny", model_folder))
    assert holder.wait(LOAD_S)
    before = weakref.ref(holder.model())
    stream = holder.model().stream("the", max_new_tokens=200, temperature=0.0)
    num_threads = threading.active_count()
    holder.select(ModelChoice("copy", shutil.copytree(model_folder, tmp_path / "copy")))
    stream.read()
    assert holder.wait(LOAD_S)
    assert threading.active_count() < num_threads
    gc.collect()
    assert before() is None
    assert stream.finish_reason in ("cancelled", "stop", "length")


def test_a_model_takes_the_threads_that_were_set_before_it_was_loaded(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, before, taken, load = ModelHolder(), torch.get_num_threads(), list[int](), core.load

    def loaded(*given: Any, **options: Any) -> LanguageModel:
        model = load(*given, **options)
        taken.append(torch.get_num_threads())  # of the thread that loads it
        return model

    monkeypatch.setattr(core, "load", loaded)
    try:
        for wanted in (0, 2):
            holder.num_threads = wanted
            holder.select(ModelChoice("tiny", model_folder))
            assert holder.wait(LOAD_S)
            holder.unload()
    finally:
        torch.set_num_threads(before)
    assert taken == [1, 2]  # a tiny model has one by itself


def test_a_folder_that_cannot_be_loaded_leaves_its_error(tmp_path: Path) -> None:
    holder = ModelHolder()
    holder.select(ModelChoice("empty", tmp_path))
    assert holder.wait(LOAD_S)
    assert holder.state == ModelState.FAILED
    with pytest.raises(ModelError, match=r"has no config\.json"):
        holder.model()


def test_the_last_choice_wins_however_long_the_others_take(model_folder: Path, tmp_path: Path) -> None:
    holder = ModelHolder()
    holder.select(ModelChoice("empty", tmp_path))
    holder.select(ModelChoice("tiny", model_folder))
    assert holder.wait(LOAD_S)
    assert holder.model().name == "tiny"


def test_without_a_choice_the_remedy_is_told() -> None:
    with pytest.raises(ModelError, match="Choose one at the top of the page"):
        ModelHolder().model()


def test_an_idle_model_leaves_memory_and_comes_back_when_it_is_asked(model_folder: Path) -> None:
    holder = ModelHolder()
    holder.unload_when_idle(0.3 / 60)
    holder.select(ModelChoice("tiny", model_folder))
    assert holder.wait(LOAD_S)
    model = holder.model()
    before = weakref.ref(model)
    stream = model.stream("the", max_new_tokens=100, temperature=0.0)
    del model
    wait_for(lambda: holder.state == ModelState.UNLOADED)
    assert stream.finish_reason in (None, "stop", "length")
    del stream
    gc.collect()
    assert before() is None
    with pytest.raises(ModelError, match="has left memory"):
        holder.model()
    assert holder.wake()
    assert holder.wait(LOAD_S)
    assert (holder.model().name, holder.wake()) == ("tiny", False)


def test_a_model_at_work_is_never_idle(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = ModelHolder()
    holder.unload_when_idle(0.2 / 60)
    holder.select(ModelChoice("tiny", model_folder))
    assert holder.wait(LOAD_S)
    monkeypatch.setattr(LanguageModel, "is_busy", True)
    time.sleep(0.5)
    assert holder.state == ModelState.READY
    monkeypatch.setattr(LanguageModel, "is_busy", False)
    holder.unload_when_idle(0)
    time.sleep(0.3)
    assert holder.state == ModelState.READY
    assert holder.unload()
    assert (holder.state, holder.unload()) == (ModelState.UNLOADED, False)


@pytest.mark.slow
def test_unloading_gives_the_memory_back_to_the_system(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train(sentences(400, seed=0), vocab_size=420)
    shape = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": tokenizer.vocab_size}
    model = Transformer(ModelConfig.from_dict({**PRESETS["tiny"].to_dict(), **shape}))
    model.init_weights(seed=1)
    num_bytes = 4 * model.config.num_parameters
    save_model(model, tmp_path / "large", tokenizer=tokenizer)
    del model
    holder = ModelHolder()
    for _ in range(2):  # the first time also imports what stays
        holder.select(ModelChoice("large", tmp_path / "large"))
        assert holder.wait(LOAD_S)
        holder.model().generate("the", max_new_tokens=4)
        loaded = psutil.Process().memory_info().rss
        holder.unload()
    assert loaded - psutil.Process().memory_info().rss > 0.9 * num_bytes


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LOAD_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
