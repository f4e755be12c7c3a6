"""The stamp: what counts as installed, and what a change asks for anew."""

import os
import sys
from pathlib import Path

import pytest

from app.bootstrap.environment import LOCK_FILES, Environment

ALL_PARTS = ["pip", "packages", "torch", "test packages"]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An environment in which everything is installed."""
    environment = Environment(root=tmp_path)
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(os.path.realpath(sys.executable))
    for name in LOCK_FILES.values():
        (tmp_path / name).write_text(f"{name}\n")
    digests = {part: environment.digest(part) for part in ALL_PARTS}
    environment.update_stamp(**digests, **{"torch build": "cpu", "interpreter": os.path.realpath(environment.python)})
    return environment


def test_a_complete_environment_lacks_nothing(environment: Environment) -> None:
    assert environment.missing(is_testing=True, torch=None) == []
    assert environment.missing(is_testing=True, torch="cpu") == []


def test_a_fresh_clone_lacks_everything(tmp_path: Path) -> None:
    for name in LOCK_FILES.values():
        (tmp_path / name).write_text("")
    assert Environment(root=tmp_path).missing(is_testing=True, torch=None) == ["venv", *ALL_PARTS]


def test_a_changed_lock_asks_for_its_part_only(environment: Environment) -> None:
    environment.lock_file("packages").write_text("other")
    assert environment.missing(is_testing=True, torch=None) == ["packages"]


def test_test_packages_are_asked_for_by_tests_only(environment: Environment) -> None:
    environment.update_stamp(drop="test packages")
    assert environment.missing(is_testing=False, torch=None) == []
    assert environment.missing(is_testing=True, torch=None) == ["test packages"]


def test_another_build_of_torch_asks_for_torch_only(environment: Environment) -> None:
    assert environment.missing(is_testing=True, torch="cuda") == ["torch"]


def test_a_python_that_was_replaced_asks_for_everything(environment: Environment) -> None:
    environment.python.unlink()
    environment.python.symlink_to("/nowhere/python")
    assert environment.missing(is_testing=False, torch=None) == ["venv", "pip", "packages", "torch"]


def test_a_stamp_that_is_not_json_counts_as_none(environment: Environment) -> None:
    environment.stamp.write_text('{"pip": ')
    assert environment.installed() == {}
