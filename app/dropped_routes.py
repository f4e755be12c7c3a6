"""How one dropped file comes in: its bytes are the body of the request."""

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
from core.errors import AssistantError

SPOOLED_BYTES = 1 << 20


async def receive_dropped(request: Request, folder: Path, keep: Callable[[IO[bytes]], bool]) -> Response:
    """Read the body, spooled below `folder`, and let `keep` have it; it says whether the file is new."""
    return await receive(request, folder, lambda content: JSONResponse({"is_new": keep(content)}))


async def receive(request: Request, folder: Path, keep: Callable[[IO[bytes]], Response]) -> Response:
    """Read the body, spooled below `folder`, and let `keep` answer it."""
    try:
        with SpooledTemporaryFile(max_size=SPOOLED_BYTES, dir=str(folder)) as content:
            async for part in request.stream():
                content.write(part)
                if content.tell() > dropped_files.MAX_COPIED_BYTES:
                    break  # `keep` refuses it
            content.seek(0)
            return await run_in_threadpool(keep, content)
    except AssistantError as exc:
        return JSONResponse({"error": error_text(exc, asked_language(request))}, 400)
    except ClientDisconnect:
        return Response(status_code=400)
