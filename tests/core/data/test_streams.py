"""Where bytes come from: folders in a fixed order, archives in memory, bombs stopped, encodings recognised."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.data.streams import InputFile, detect_encoding, input_files, members, open_text
from core.errors import DataError

CHINESE = "今天天氣很好，我們一起去公園散步，看見許多紅色的花和綠色的樹。" * 8
SIMPLIFIED = "今天天气很好，我们一起去公园散步，看见许多红色的花和绿色的树。" * 8


def contents(path: Path) -> dict[str, bytes]:
    """Every member of a file and what it holds."""
    file = InputFile(path, path.name)
    return {name: stream.read() for name, stream in members(file, lambda _: None)}


def names(*paths: Path, outside: Path | None = None) -> list[str]:
    return [file.name for file in input_files(list(paths), outside=outside)]


def test_folders_are_opened_in_a_fixed_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".git/x.txt", ".hidden.txt", "out/made.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert names(tmp_path, outside=tmp_path / "out") == ["a.txt", "b/1.txt", "b/2.txt"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert names(tmp_path / "a.txt", tmp_path, tmp_path / "a.txt") == ["a.txt"]


def test_files_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("x")
    assert names(tmp_path / "one", tmp_path / "two") == [str(tmp_path / "one/a.txt"), str(tmp_path / "two/a.txt")]


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.txt")).write_text("x")
    assert names(tmp_path) == ["a\ufffd.txt"]


def test_what_cannot_be_read_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"missing\.txt does not exist\. Check the path"):
        input_files([tmp_path / "missing.txt"])
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match=r"pipe\.txt is neither a file nor a folder"):
        input_files([tmp_path / "pipe.txt"])

    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"The folder .* cannot be read: Permission denied\. Change its permissions"):
        input_files([tmp_path])


def test_members_of_archives_are_read_in_memory(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name, content in (("../up.txt", b"one"), ("/abs.txt.gz", gzip.compress(b"two"))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("folder/", "")
        zipped.writestr("folder/x.txt", "three")
    assert contents(tmp_path / "a.tar.gz") == {"a.tar.gz/../up.txt": b"one", "a.tar.gz//abs.txt.gz": b"two"}
    assert contents(tmp_path / "a.zip") == {"a.zip/folder/x.txt": b"three"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]


def test_an_encrypted_member_does_not_hide_the_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("locked.txt", "one")
        archive.writestr("open.txt", "two")
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(raw)
    parts = dict(members(InputFile(tmp_path / "a.zip", "a.zip"), lambda _: None))
    with pytest.raises(ValueError, match=r"I/O|closed"):
        parts["a.zip/open.txt"].read()
    found = members(InputFile(tmp_path / "a.zip", "a.zip"), lambda _: None)
    with pytest.raises(RuntimeError, match="encrypted"):
        next(found)[1].read()
    assert next(found)[1].read() == b"two"


@pytest.mark.parametrize("name", ["bomb.txt.gz", "bomb.zip", "bomb.tar.gz", "twice.tar"])
def test_a_decompression_bomb_is_stopped(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.data.streams.MAX_FREE_UNPACKED_BYTES", 1 << 16)
    zeros, out = b"0" * (1 << 23), io.BytesIO()
    packed = gzip.compress(zeros)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.txt", zeros)
    files = {"bomb.txt.gz": packed, "bomb.zip": out.getvalue()}
    for tar, mode, inner, content in (("bomb.tar.gz", "w:gz", "a.txt", zeros), ("twice.tar", "w", "a.txt.gz", packed)):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
            entry = tarfile.TarInfo(inner)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        files[tar] = out.getvalue()
    (tmp_path / name).write_bytes(files[name])
    with pytest.raises(DataError, match=rf"{name} has [\d,]+ bytes and unpacks to more than [\d,]+: it was refused"):
        contents(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
def test_the_encoding_of_chinese_and_english_text_is_recognised(encoding: str) -> None:
    for text in (SIMPLIFIED + "\nabc\n", f"A line of English.\n{SIMPLIFIED}"):
        found = detect_encoding(text.encode(encoding))
        assert found is not None
        assert text.encode(encoding).decode(found) == text


def test_big5_is_recognised() -> None:
    assert detect_encoding(CHINESE.encode("big5")) == "big5hkscs"


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_utf8_is_never_taken_for_another_encoding(text: str) -> None:
    assert detect_encoding(text.encode()) in ("utf-8", "utf-8-sig")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_text_or_say_why_not(content: bytes) -> None:
    opened = open_text(io.BytesIO(content))
    assert isinstance(opened if isinstance(opened, str) else opened.read(), str)


@pytest.mark.parametrize(("content", "why"), [(b"", "empty"), (b" \n\t ", "empty"), (bytes(range(256)) * 9, "binary")])
def test_what_is_no_text_says_why(content: bytes, why: str) -> None:
    assert why in str(open_text(io.BytesIO(content)))


def test_a_character_on_the_edge_of_the_first_block_does_not_matter() -> None:
    for size in range(65530, 65540):
        text = "a" * size + "中文" * 100
        opened = open_text(io.BytesIO(text.encode()))
        assert not isinstance(opened, str)
        assert opened.read() == text
