"""Reads the body of a request within a size and a time."""

import asyncio

from starlette.requests import Request

from core.inference.openai_error import RequestError

MAX_BODY_BYTES = 8 * 2**20
BODY_TIMEOUT_S = 30.0


async def read_body(request: Request) -> bytes:
    """The whole body. Raises RequestError when it is too large or takes too long."""
    body = bytearray()
    too_large = RequestError(f"The body is over {MAX_BODY_BYTES:,} bytes.", status=413, code="too_large")
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise too_large
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                body += part
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError as exc:
        message = f"The body did not arrive within {BODY_TIMEOUT_S:.0f} s."
        raise RequestError(message, status=408, code="timeout") from exc
    return bytes(body)
