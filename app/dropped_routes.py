"""How one dropped file comes in: its bytes are the body of the request."""

import shutil
from collections.abc import Callable
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

SPOOLED_BYTES = 1 << 20


async def receive_dropped(request: Request, folder: Path, keep: Callable[[IO[bytes]], bool]) -> Response:
    """Read the body, spooled below `folder`, and let `keep` have it; it says whether the file is new."""
    return await receive(request, folder, lambda content: JSONResponse({"is_new": keep(content)}))


async def receive(
    request: Request, folder: Path, keep: Callable[[IO[bytes]], Response], *, max_bytes: int | None = None
) -> Response:
    """Read the body, spooled below `folder`, and let `keep` answer it; without a bound given, MAX_COPIED_BYTES."""
    most = dropped_files.MAX_COPIED_BYTES if max_bytes is None else max_bytes
    needed = int(request.headers.get("content-length", 0))
    try:
        if needed > shutil.disk_usage(folder).free:
            raise _no_room(folder, needed)
        with SpooledTemporaryFile(max_size=SPOOLED_BYTES, dir=str(folder)) as content:
            async for part in request.stream():
                content.write(part)
                if content.tell() > most:
                    break  # `keep` refuses it
            content.seek(0)
            return await run_in_threadpool(keep, content)
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
