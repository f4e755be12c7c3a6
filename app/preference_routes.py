"""Pairs as a file, out of the store and into it, for the page: `studio.js` puts the answer where it belongs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from app.dropped_files import copy_dropped
from app.dropped_routes import receive
from app.i18n import asked_language
from app.paths import preferences_dir
from app.preference_files import ImportReport, import_pairs, pair_lines
from app.preferences import Preferences
from app.studio_preferences_view import import_html

KINDS = (".jsonl", ".json")
MAX_NAME_CHARS = 100


def preference_routes(preferences: Preferences) -> APIRouter:
    """The routes below /studio that have to do with pairs."""
    router = APIRouter(prefix="/studio")

    @router.get("/preferences.jsonl")
    def export() -> Response:
        """All pairs with their review."""
        headers = {"content-disposition": 'attachment; filename="preferences.jsonl"'}
        return StreamingResponse(_lines(preferences), media_type="application/jsonl", headers=headers)

    @router.post("/preferences")
    async def take_in(name: str, request: Request) -> Response:
        """Pairs of a file, which is the body; what became of its rows, as HTML."""
        language = asked_language(request)

        def keep(content: IO[bytes]) -> Response:
            report = import_from(preferences, PurePosixPath(name).suffix.lower(), content)
            return HTMLResponse(import_html(report, name[:MAX_NAME_CHARS], language))

        return await receive(request, preferences_dir(), keep)

    return router


def import_from(preferences: Preferences, suffix: str, content: IO[bytes]) -> ImportReport:
    """Read pairs of a stream; `suffix` tells its form, JSON lines where it is none of KINDS.

    Raises: DataError for one that is too large.
    """
    with tempfile.TemporaryDirectory(dir=preferences_dir(), prefix=".import-") as folder:
        path = Path(folder) / f"pairs{suffix if suffix in KINDS else KINDS[0]}"
        copy_dropped(content, path)
        return import_pairs(preferences, path)


def _lines(preferences: Preferences) -> Iterator[str]:
    yield from pair_lines(preferences.pairs())
