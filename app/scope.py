"""Which documents are asked: collections, kinds of file, a folder, modified since when. As picked on the page."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import DataError

if TYPE_CHECKING:
    from rag.rows import DocumentRow

DAYS = (2, 7, 30, 365)  # that the page offers
MAX_FOLDERS = 200
MIN_DATE_CHARS = 8  # of a date without dashes; less is a number of days
EXAMPLE = "2026-01-31"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Without collections all are meant; `prefix` is the beginning of a path."""

    collections: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    prefix: str = ""
    after: datetime | None = None

    @classmethod
    def picked(
        cls, collections: Sequence[str] = (), kinds: Sequence[str] = (), folder: str = "", since: str = ""
    ) -> "Scope":
        """From a page's fields; `since` is a number of days or a date. Raises: DataError for any other."""
        return cls(
            collections=tuple(collections), kinds=tuple(kinds), prefix=_prefix(folder), after=_after(since.strip())
        )

    @property
    def is_narrow(self) -> bool:
        """Whether it leaves out documents of its collections."""
        return bool(self.kinds or self.prefix or self.after)

    @property
    def search_options(self) -> dict[str, Any]:
        """Options of `KnowledgeBase.search`."""
        return {
            "collections": self.collections or None,
            "kinds": self.kinds or None,
            "path_prefix": self.prefix or None,
            "after": self.after,
        }

    def allows(self, document: "DocumentRow") -> bool:
        """Whether a document is meant; one that could not be read has no kind."""
        return (
            (not self.collections or document.collection in self.collections)
            and (not self.kinds or document.kind in self.kinds)
            and str(document.path).startswith(self.prefix)
            and (self.after is None or document.mtime_ns > self.after.timestamp() * 1e9)
        )


def folders(documents: "Iterable[DocumentRow]", copies: Path) -> list[tuple[str, str]]:
    """Label and path of each folder that has documents, or several folders that have some.

    Of those below `copies` the label is the part that was dropped.
    """
    own = {document.path.parent for document in documents}
    found: dict[str, str] = {}
    for folder in sorted(own | _forks(own, copies)):
        dropped = folder.is_relative_to(copies)
        name = "/".join(folder.relative_to(copies).parts[1:]) if dropped else str(folder)
        if name:
            found.setdefault(str(folder), name)
    return [(name, path) for path, name in list(found.items())[:MAX_FOLDERS]]


def _forks(own: set[Path], copies: Path) -> set[Path]:
    """The folders below which two or more lead to one of these; not the top of the disk, nor of `copies`."""
    below = defaultdict[Path, set[Path]](set)
    for folder in own:
        for child, parent in pairwise((folder, *folder.parents)):
            below[parent].add(child)
    return {
        folder
        for folder, children in below.items()
        if len(children) > 1 and folder != copies and not copies.is_relative_to(folder) and folder.parent != folder
    }


def _prefix(folder: str) -> str:
    """The beginning of all paths below a folder, or of what was typed."""
    typed = folder.strip()
    path = Path(typed).expanduser()
    return f"{path}{os.sep}" if typed and path.is_dir() else str(path) if typed else ""


def _after(since: str) -> datetime | None:
    if not since:
        return None
    try:
        if since.isdecimal() and len(since) < MIN_DATE_CHARS:
            return datetime.now().astimezone() - timedelta(days=int(since))
        return datetime.fromisoformat(since).astimezone()
    except (ValueError, OverflowError) as exc:
        raise DataError("{date!r} is no date.", "Write it as {example}.", date=since[:40], example=EXAMPLE) from exc
