"""Server-sent events to one client.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

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
        async with aclosing(self._events):
            async for event in self._events:
                await send({"type": "http.response.body", "body": event.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def event(value: dict[str, Any]) -> str:
    """One event. Its JSON is ASCII, because some clients take U+2028 in it for the end of a line."""
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"
