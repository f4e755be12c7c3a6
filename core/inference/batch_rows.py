"""The rows of a batch: JSON lines with a prompt or a conversation each, read one at a time.

A row is `{"prompt": text}` or `{"messages": [{"role", "content"}, …]}`, with an `id` of one's own and any option of
SamplingConfig beside it. A row that cannot be used is a row with an `error`: it has its place among the others.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.config.param_config import SamplingConfig
from core.config.schema import unknown_name_message
from core.data.records import one_line
from core.errors import ConfigError, DataError

MAX_ROW_BYTES = 8 * 2**20
MAX_ID_CHARS = 1000
HEAD_BYTES = 1 << 16
ROLES = ("system", "user", "assistant", "tool")
BOM = b"\xef\xbb\xbf"
OPTIONS = tuple(field.name for field in fields(SamplingConfig))
KEYS = ("id", "prompt", "messages", *OPTIONS)


@dataclass(frozen=True, slots=True)
class Row:
    """One row. `index` counts the rows from 0, `line` the lines of the file from 1, blank ones too."""

    index: int
    line: int
    id: str | int | None = None
    prompt: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    options: dict[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file of rows is before it is worked on."""

    sha256: str
    num_rows: int


def survey(path: Path) -> Survey:
    """Count and hash the rows of a file. Raises DataError if it cannot be read, is no text or has none."""
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise DataError(f"{path} {what}.", "Give a file of JSON lines.")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b")):
            raise DataError(f"{path} is no UTF-8 text.", "Give JSON lines in UTF-8, not compressed.")
        digest = hashlib.sha256()
        num_rows = sum(1 for _ in _contents(path, digest.update))
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    if not num_rows:
        raise DataError(f"{path} has no rows.", 'Give JSON lines such as {"prompt": "Once upon a time"}.')
    return Survey(digest.hexdigest(), num_rows)


def _unreadable(path: Path, exc: OSError) -> DataError:
    return DataError(f"{path} cannot be read: {exc.strerror}.", "Check the path and its permissions.")


def read_rows(path: Path, first: int = 0) -> Iterator[Row]:
    """The rows from number `first` on. Raises DataError."""
    try:
        for index, (line, content) in enumerate(_contents(path)):
            if index >= first:
                yield _row(index, line, content)
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def _contents(path: Path, see: Callable[[bytes], object] = len) -> Iterator[tuple[int, bytes | None]]:
    """(line, content) of every line that is not blank; content is None when it is over MAX_ROW_BYTES.

    `see` is given every byte of the file.
    """
    with path.open("rb") as file:
        line = 0
        while content := file.readline(MAX_ROW_BYTES):
            line += 1
            see(content)
            is_long = len(content) == MAX_ROW_BYTES and not content.endswith(b"\n")
            rest = content if is_long else b"\n"
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_ROW_BYTES)
                see(rest)
            if is_long:
                yield line, None
            elif content.removeprefix(BOM).strip():
                yield line, content.removeprefix(BOM) if line == 1 else content


def _row(index: int, line: int, content: bytes | None) -> Row:
    if content is None:
        return Row(index, line, error=f"The line is over {MAX_ROW_BYTES:,} bytes.")
    try:
        value = json.loads(content.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a character, as "\ud800", is no text
    except UnicodeDecodeError as exc:
        return Row(index, line, error=f"The line is not UTF-8 at byte {exc.start + 1:,}.")
    except UnicodeEncodeError:
        return Row(index, line, error="The line holds half a character (a lone surrogate).")
    except (ValueError, RecursionError) as exc:
        return Row(index, line, error=f"The line is broken JSON: {one_line(exc)}.")
    if not isinstance(value, dict):
        return Row(index, line, error=f"The line is a JSON {type(value).__name__}, not an object.")
    own_id = value.get("id")
    is_id = isinstance(own_id, str | int) and not isinstance(own_id, bool) and len(str(own_id)) <= MAX_ID_CHARS
    problem = _problem(value, is_id=is_id)
    if problem:
        return Row(index, line, own_id if is_id else None, error=problem)
    options = {name: value[name] for name in OPTIONS if value.get(name) is not None}
    return Row(index, line, own_id, value.get("prompt"), tuple(value.get("messages", ())), options)


def _problem(value: dict[str, Any], *, is_id: bool) -> str | None:
    """What is wrong with a row, in a sentence."""
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        return f"There is {unknown_name_message(unknown[0][:100], list(KEYS))}."
    if "id" in value and not is_id:
        return f"id must be a whole number or a text of at most {MAX_ID_CHARS:,} characters."
    if ("prompt" in value) == ("messages" in value):
        return 'The row needs "prompt" or "messages", and not both.'
    if "prompt" in value and not isinstance(value["prompt"], str):
        return f"prompt is a {type(value['prompt']).__name__}, it must be a text."
    if "messages" in value and not _are_messages(value["messages"]):
        return f'messages must be a list of {{"role": {" or ".join(ROLES)}, "content": text}}.'
    options = {name: value[name] for name in OPTIONS if name in value}
    try:
        _ = options and SamplingConfig.from_dict(options)
    except ConfigError as exc:
        return exc.message
    return None


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    is_plain = isinstance(value, dict) and set(value) == {"role", "content"}
    return is_plain and value["role"] in ROLES and isinstance(value["content"], str)
