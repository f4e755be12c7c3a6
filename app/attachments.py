"""Files that are attached to a question: a short one is given whole, out of a long one the passages that fit.

A file is copied to a folder of its own, read in the library's confined child process, and gone again when that is done:
its text lives with the message, in the store of conversations or, for a temporary one, in memory alone.
"""

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.attachment_search import Passage, Ranker
from app.conversation_rows import Message, kept_turns
from app.dropped_files import copy_dropped, place_of
from core.errors import AssistantError, DataError

if TYPE_CHECKING:
    from rag.embedding import Embedder

MAX_FILES = 8  # beside one question
MAX_FILE_BYTES, MAX_CHARS = 64 * 2**20, 600_000  # of one file
MAX_BATCHES, MAX_AGE_S = 32, 3600.0  # of files that wait for their question
WHOLE_SHARE = 0.35  # of the model's context that the files of one question may take as a whole
PASSAGE_SHARE, MAX_PASSAGE_TOKENS = 0.3, 1024  # of the context, for the passages of one question
MAX_CHARS_A_TOKEN = 20  # a longer text needs no counting
WHOLE, PASSAGES = "whole", "passages"


@dataclass(frozen=True, slots=True)
class Attached:
    """A file that was read: its text and the passages of it. `error` says why there is none."""

    name: str
    text: str = ""
    passages: tuple[Passage, ...] = ()
    error: AssistantError | None = None


class Attachments:
    """Reads files and keeps them until they are asked about. Methods may be called from several threads."""

    def __init__(self, folder: Path, embedder: "Callable[[], Embedder]") -> None:
        """`folder` is where a file is for as long as it is read."""
        self.folder, self._ranker = folder, Ranker(embedder)
        self._waiting: OrderedDict[str, tuple[float, list[Attached]]] = OrderedDict()
        self._lock, self._reading = threading.Lock(), threading.Lock()
        shutil.rmtree(folder, ignore_errors=True)  # what a program that was killed left
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def receive(self, batch: str, name: str, content: IO[bytes]) -> None:
        """Read one file. What cannot be read becomes a line in its place.

        Raises: DataError for a name that cannot be, or too many files.
        """
        root = self.folder / secrets.token_hex(8)
        path = place_of(root, batch, name)
        if len(self.waiting(batch)) >= MAX_FILES:
            raise DataError(
                "There are {most} files already.",
                "Ask about these first, or add more to the library.",
                most=MAX_FILES,
            )
        try:
            with self._reading:
                attached = self._read(path, content)
        except AssistantError as exc:
            attached = Attached(path.name, error=exc)
        finally:
            shutil.rmtree(root, ignore_errors=True)
        with self._lock:
            files = self._waiting.get(batch, (0.0, []))[1]
            self._waiting[batch] = (time.monotonic(), [*(one for one in files if one.name != path.name), attached])
            self._waiting.move_to_end(batch)
            while len(self._waiting) > MAX_BATCHES:
                self._waiting.popitem(last=False)

    def waiting(self, batch: str) -> list[Attached]:
        """The files that wait for their question."""
        with self._lock:
            since, files = self._waiting.get(batch, (0.0, []))
            return list(files) if time.monotonic() - since < MAX_AGE_S else []

    def remove(self, batch: str, name: str) -> None:
        """Take one back."""
        with self._lock:
            if batch in self._waiting:
                since, files = self._waiting[batch]
                self._waiting[batch] = (since, [one for one in files if one.name != name])

    def take(self, batch: str, *, max_seq_len: int, count_tokens: Callable[[str], int]) -> list[dict[str, Any]]:
        """The files for the message that asks about them, each whole or to be searched. They wait no more."""
        files = [one for one in self.waiting(batch) if one.passages]
        with self._lock:
            self._waiting.pop(batch, None)
        room, kept = int(WHOLE_SHARE * max_seq_len), list[dict[str, Any]]()
        for one in sorted(files, key=lambda file: len(file.text)):
            cost = count_tokens(one.text) if len(one.text) < MAX_CHARS_A_TOKEN * room else room + 1
            use = WHOLE if cost <= room else PASSAGES
            room -= cost if use == WHOLE else 0
            parts = [Passage(one.text, None)] if use == WHOLE else one.passages
            rows = [[part.text, part.page] for part in parts]
            kept.append({"name": one.name, "chars": len(one.text), "use": use, "passages": rows})
        return kept

    def given(
        self,
        path: Sequence[Message],
        *,
        max_seq_len: int,
        count_tokens: Callable[[str], int],
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The turns of a conversation, files in `attached` before their questions, and the passages that are in it.

        A file that is searched is searched for each question from its own on; a passage is given once. A question
        that a notice answers is no part of it.
        """
        turns, shown = list[dict[str, Any]](), list[dict[str, Any]]()
        searched, known = list[tuple[str, str, list[Passage]]](), set[tuple[str, int]]()
        for message, turn in kept_turns(path):
            if message.role != "user":
                turns.append(turn)
                continue
            files = attached_files(message.said.details)
            whole = [
                (file["name"], part.page, part.text)
                for file in files
                if file["use"] == WHOLE
                for part in _passages_of(file)
            ]
            searched += [
                (f"{message.id}/{place}", file["name"], _passages_of(file))
                for place, file in enumerate(files)
                if file["use"] == PASSAGES
            ]
            budget = min(MAX_PASSAGE_TOKENS, int(max_seq_len * PASSAGE_SHARE))
            found = list[tuple[str, int | None, str]]()
            for key, name, number, passage in self._ranker.best(message.content, searched):
                cost = count_tokens(passage.text)
                if (key, number) not in known and cost <= budget:
                    known.add((key, number))
                    found.append((name, passage.page, passage.text))
                    budget -= cost
            shown += [{"name": name, "page": page, "text": text, "address": ""} for name, page, text in found]
            blocks = [_block(*one) for one in (*whole, *found)]
            turns.append({**turn, **({"attached": "\n\n".join(blocks)} if blocks else {})})
        return turns, shown

    def _read(self, path: Path, content: IO[bytes]) -> Attached:
        from rag.chunking import chunk
        from rag.parsing import parse

        copy_dropped(content, path)
        document = parse(path)
        if len(document.text) > MAX_CHARS:
            raise DataError(
                "{name} has {count:,} characters, over {most:,}.",
                "Add it to the library.",
                name=path.name,
                count=len(document.text),
                most=MAX_CHARS,
            )
        cut = chunk(document, lambda text: len(text.encode()) // 4 + 1)
        if not cut:
            raise DataError("{name} has no text.", "Attach another file.", name=path.name)
        passages = (Passage(document.text[one.start : one.end], one.page) for one in cut)
        return Attached(path.name, document.text, tuple(passages))


def with_attached(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as the model is given it: the files before the question."""
    given = {name: value for name, value in turn.items() if name != "attached"}
    return given | {"content": f"{turn['attached']}\n\n{turn['content']}"} if turn.get("attached") else given


def attached_files(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a message, as its details have them; what is none is left out."""
    rows = details.get("attachments")
    return [row for row in rows if _is_file(row)] if isinstance(rows, list) else []


def _is_file(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("name"), str)
        and row.get("use") in (WHOLE, PASSAGES)
        and isinstance(row.get("passages"), list)
        and all(isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in row["passages"])
    )


def _passages_of(file: Mapping[str, Any]) -> list[Passage]:
    return [Passage(text, page if isinstance(page, int) else None) for text, page in file["passages"]]


def _block(name: str, page: int | None, text: str) -> str:
    """As passages of the library are given."""
    return f"[{name}{f', page {page}' if page else ''}]\n{text}"
