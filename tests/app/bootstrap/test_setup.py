"""What is refused before anything is downloaded."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.bootstrap import TORCH_CHOICES, setup, take_torch_choice
from app.bootstrap.environment import LOCK_FILES, Environment
from core.errors import ConfigError, SetupError


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    for name in LOCK_FILES.values():
        (tmp_path / name).write_text("")
    return Environment(root=tmp_path)


def test_a_python_without_ensurepip_names_the_package_to_install(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"ensurepip is missing.*apt install python3-venv"):
        setup.set_up(environment, is_testing=False, choice="cpu")
    assert not environment.folder.exists()


def test_a_disk_without_room_is_said_with_both_numbers(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup.shutil, "disk_usage", lambda path: SimpleNamespace(free=5 * 10**8))
    with pytest.raises(SetupError, match=r"needs about 1,990 MB .* 500 MB are free"):
        setup.set_up(environment, is_testing=False, choice="cpu")


def test_a_folder_that_cannot_be_written_is_a_sentence(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(setup, "make_venv", refuse)
    with pytest.raises(SetupError, match="cannot be written"):
        setup.set_up(environment, is_testing=False, choice="cpu")


def test_the_choice_of_torch_is_taken_off_the_front() -> None:
    assert take_torch_choice(["--torch", "cpu", "doctor"]) == ("cpu", ["doctor"])
    assert take_torch_choice(["--torch=cuda"]) == ("cuda", [])
    assert take_torch_choice(["doctor", "--torch", "cpu"]) == (None, ["doctor", "--torch", "cpu"])


@pytest.mark.parametrize("arguments", [["--torch"], ["--torch", "rocm"], ["--torch=", "x"]])
def test_a_build_that_does_not_exist_is_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match=", ".join(TORCH_CHOICES)):
        take_torch_choice(arguments)
