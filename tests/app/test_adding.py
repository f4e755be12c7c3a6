"""A model of this disk is copied and checked in a child; what is broken or hostile is refused with a sentence."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import core
from app.adding import Adding
from app.model_import import add_model, files_of
from app.paths import models_dir, starter_dir
from core.errors import AssistantError, BusyError, ModelError


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with a model and things that are none of it."""
    folder = shutil.copytree(starter_dir(), tmp_path / "given")
    (folder / "modeling.py").write_text("raise SystemExit('never run')", encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"\x80pickle")
    (folder / "nested").mkdir()
    return folder


def test_a_folder_is_copied_without_what_is_no_model(given: Path) -> None:
    events: list[dict[str, object]] = []
    place = add_model(str(given), events.append)
    assert place == models_dir() / "given"
    names = {path.name for path in place.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert names.isdisjoint({"modeling.py", "pytorch_model.bin", "nested"})
    assert (place / "model.safetensors").read_bytes() == (given / "model.safetensors").read_bytes()
    assert {"checking": True} in events
    assert add_model(str(given)).name == "given-2"
    assert [path for path in models_dir().iterdir() if path.name.startswith(".")] == []


def test_a_gguf_file_gets_a_folder_of_its_own_and_answers(tmp_path: Path) -> None:
    file = core.export(starter_dir(), tmp_path / "small-F16.gguf", to="gguf")
    place = add_model(str(file))
    assert [path.name for path in place.iterdir()] == ["small-F16.gguf"]
    assert core.load(place).generate("Hello", max_new_tokens=2, temperature=0)


def link_out(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").symlink_to("/etc/passwd")


def claim_too_much(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + content[8:])


def cut(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 4_000_000)


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "hidden_size": 512}), encoding="utf-8")


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    wrong = {**config, "model_type": "evil", "auto_map": {"AutoModel": "modeling.Evil"}}
    (folder / "config.json").write_text(json.dumps(wrong), encoding="utf-8")


def point_outside(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "../../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def pickle_alone(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer.model"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    "break_it", [link_out, claim_too_much, cut, other_shape, own_code, point_outside, pickle_alone, no_tokenizer]
)
def test_a_broken_or_hostile_folder_leaves_nothing(break_it: Callable[[Path], None], given: Path) -> None:
    break_it(given)
    with pytest.raises(AssistantError):
        add_model(str(given))
    assert list(models_dir().iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 60, b"\x7fELF" + bytes(100)])
def test_a_file_that_only_calls_itself_gguf_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        add_model(str(path))


def test_a_full_disk_is_told_before_anything_is_copied(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match=r"needs 0\.0 GB, 0\.0 GB are free"):
        add_model(str(given))
    assert list(models_dir().iterdir()) == []


def test_the_files_of_an_adapter_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="needs its base"):
        list(files_of(tmp_path))


@pytest.mark.slow
def test_the_page_adds_in_a_child_says_why_not_and_can_stop(given: Path) -> None:
    adding = Adding()
    adding.begin(str(given))
    with pytest.raises(BusyError):
        adding.begin(str(given))
    adding.wait()
    assert adding.state is not None
    assert (adding.state.error, adding.state.path) == (None, str(models_dir() / "given"))
    cut(given)
    adding.begin(str(given))
    adding.wait()
    assert "model.safetensors" in str(adding.state.error)
    adding.begin(str(given))
    adding.cancel()
    adding.wait()
    assert adding.state is None
    assert [path.name for path in models_dir().iterdir()] == ["given"]
