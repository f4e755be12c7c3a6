"""Server-sent events to one client, which is left when it does not read.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

# How long a client may leave one event untaken before it is given up; the system's buffers are full by then.
SEND_TIMEOUT_S = 30.0
DONE = "data: [DONE]\n\n"


class EventStream(Response):
    """Sends events as they are made. Nothing is made while the client does not read."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with aclosing(self._events):
                async for event in self._events:
                    await _send_part(send, event.encode(), more=True)
                await _send_part(send, b"", more=False)
        except TimeoutError:  # the answer is not completed, so the web server closes the connection
            logger.warning("a client left events untaken for %.0f s and was given up", SEND_TIMEOUT_S)


async def _send_part(send: Send, body: bytes, *, more: bool) -> None:
    async with asyncio.timeout(SEND_TIMEOUT_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


def event(value: dict[str, Any]) -> str:
    """One event. Its JSON is ASCII, because some clients take U+2028 in it for the end of a line."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
