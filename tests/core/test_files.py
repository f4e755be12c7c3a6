"""Reading in bounds and writing so that a crash leaves no half."""

import os
import stat
from pathlib import Path

import pytest

from core.errors import ModelError
from core.files import read_bytes, read_json_object, write_atomic, write_bytes


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such devices and pipes in folders")
def test_a_device_and_a_pipe_are_refused_at_once(tmp_path: Path) -> None:
    endless, pipe = tmp_path / "config.json", tmp_path / "pipe.json"
    endless.symlink_to("/dev/zero")
    os.mkfifo(pipe)
    for path in (endless, pipe):
        with pytest.raises(ModelError, match="is no regular file"):
            read_json_object(path, ModelError)


def test_a_file_larger_than_the_limit_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.files.MAX_READ_BYTES", 10)
    write_bytes(tmp_path / "large", b"12345678901")
    with pytest.raises(OSError, match="large is 11 bytes, at most 10 make sense"):
        read_bytes(tmp_path / "large")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    def fail(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise OSError("the disk is full")

    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(OSError, match="the disk is full"):
        write_atomic(tmp_path / "file", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.skipif(os.name == "nt", reason="a folder cannot be flushed there")
def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_write_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, replace, done = os.fsync, os.replace, list[str]()

    def flushed(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(source: Path, target: Path) -> None:
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    write_bytes(tmp_path / "file", b"1")
    assert done == ["file", "name", "folder"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_have_the_users_usual_mode_and_private_ones_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_bytes(tmp_path / "usual", b"")
        write_atomic(tmp_path / "private", lambda path: path.write_bytes(b"key") and None, is_private=True)
    finally:
        os.umask(before)
    assert (tmp_path / "usual").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
