"""Files that hold something else than their name says: what a server or git put in the place of the real one."""

from pathlib import Path

from core.errors import ModelError

LFS_START = b"version https://git-lfs"
PAGE_STARTS = (b"<!doctype html", b"<html", b"access to model", b"invalid credentials", b"invalid username")
# How much of a file is looked at for that.
START_BYTES = 64


def refuse_placeholder(path: Path) -> None:
    """Raises ModelError for a git-lfs pointer, a server's page, a pipe or a device under the name of a model's file."""
    if not path.is_file():
        if path.exists() and not path.is_dir():  # whoever opens it may wait for ever
            raise ModelError("{path} is no regular file.", "Put the file itself there.", path=path)
        return
    with path.open("rb") as file:
        start = file.read(START_BYTES).lstrip()
    if start.startswith(LFS_START):
        raise ModelError(
            "{path} is a pointer of git-lfs, the file itself was not downloaded.",
            "Run `git lfs pull` in its folder.",
            path=path,
        )
    if start.lower().startswith(PAGE_STARTS):
        raise ModelError(
            "{path} is a page of the server ({start!r}), not the file.",
            "Accept the model's terms and log in there, then download it again.",
            path=path,
            start=start[:40].decode("utf-8", "replace"),
        )
