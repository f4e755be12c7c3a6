"""The backup out of the page, and one into it."""

from typing import IO

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from app.archive import MAX_ARCHIVE_BYTES, stage_restore
from app.backing_up import Backup
from app.dropped_routes import receive
from core.folders import data_dir

MAX_NAME_CHARS = 120


def archive_routes(backup: Backup) -> APIRouter:
    """The routes below /archive."""
    router = APIRouter(prefix="/archive")

    @router.get("/backup.zip")
    def fetch() -> Response:
        """The backup that was made last."""
        path = backup.state.path if backup.state is not None else None
        if path is None or not path.is_file():
            return PlainTextResponse("There is no backup. Make one in the settings.", 404)
        return FileResponse(path, filename=path.name, headers={"cache-control": "no-store"})

    @router.post("/restore")
    async def restore(name: str, request: Request) -> Response:
        """A backup to be put in place at the next start: its bytes are the body."""

        def stage(content: IO[bytes]) -> Response:
            return JSONResponse({"parts": stage_restore(content, called=name[:MAX_NAME_CHARS] or "?")})

        return await receive(request, data_dir(), stage, max_bytes=MAX_ARCHIVE_BYTES)

    return router
