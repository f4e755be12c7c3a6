"""How one dropped file comes in: its bytes are the body of the request."""

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from app import dropped_files
from app.error_texts import error_text
from app.i18n import asked_language
from core.errors import AssistantError, SetupError
from core.files import DISK_FULL

SPOOLED_BYTES, WRITTEN_BYTES = 1 << 20, 4 << 20


async def receive_dropped(request: Request, folder: Path, keep: Callable[[IO[bytes]], bool]) -> Response:
    """Read the body, spooled below `folder`, and let `keep` have it; it says whether the file is new."""
    return await receive(request, folder, lambda content: JSONResponse({"is_new": keep(content)}))


async def receive(
    request: Request, folder: Path, keep: Callable[[IO[bytes]], Response], *, max_bytes: int | None = None
) -> Response:
    """Read the body, spooled below `folder`, and let `keep` answer it; without a bound given, MAX_COPIED_BYTES."""
    most = dropped_files.MAX_COPIED_BYTES if max_bytes is None else max_bytes

    async def read() -> Response:
        with SpooledTemporaryFile(max_size=SPOOLED_BYTES, dir=str(folder)) as content:
            async for part in request.stream():
                content.write(part)
                if content.tell() > most:
                    break  # `keep` refuses it
            content.seek(0)
            return await run_in_threadpool(keep, content)

    return await _where_there_is_room(request, folder, read)


async def receive_file(request: Request, path: Path) -> Response:
    """Write the body to a file, block by block, for it may be larger than memory. What is not whole is deleted."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_whole = False

    async def read() -> Response:
        nonlocal is_whole
        with path.open("wb") as file:
            block = bytearray()
            async for part in request.stream():
                block += part
                if len(block) >= WRITTEN_BYTES:
                    await run_in_threadpool(file.write, bytes(block))
                    block.clear()
            file.write(block)
        is_whole = True
        return JSONResponse({})

    try:
        return await _where_there_is_room(request, path.parent, read)
    finally:
        if not is_whole:
            await run_in_threadpool(path.unlink, missing_ok=True)


async def _where_there_is_room(request: Request, folder: Path, read: Callable[[], Awaitable[Response]]) -> Response:
    """What `read` answers, or why the body cannot be taken in: too little room for it, a client that left."""
    needed = int(request.headers.get("content-length", 0))
    try:
        if needed > shutil.disk_usage(folder).free:
            raise _no_room(folder, needed)
        return await read()
    except AssistantError as exc:
        return JSONResponse({"error": error_text(exc, asked_language(request))}, 400)
    except ClientDisconnect:
        return Response(status_code=400)
    except OSError as exc:
        if exc.errno not in DISK_FULL:
            raise
        return JSONResponse({"error": error_text(_no_room(folder, needed), asked_language(request))}, 507)


def _no_room(folder: Path, needed: int) -> SetupError:
    return SetupError(
        "The file has {needed:,} bytes, and {free:,} are free on this disk.",
        "Free some space and try again.",
        needed=needed,
        free=shutil.disk_usage(folder).free,
    )
