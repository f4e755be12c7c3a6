"""A request's body within a size and a time, whatever the application behind does with it."""

import asyncio

from starlette.types import Message, Receive, Send

from app.allowed_routes import Body

DISCONNECT: Message = {"type": "http.disconnect"}


class BoundedBody:
    """Stands between the server and the application while a body arrives.

    Past its bounds the application hears that its client has gone, and what it says then is dropped: the caller sends
    `refusal` if it may.
    """

    def __init__(self, body: Body, receive: Receive, send: Send) -> None:
        self.refusal: tuple[int, str] | None = None
        self.has_answered = False
        self._body, self._receive, self._send = body, receive, send
        self._deadline_s = asyncio.get_running_loop().time() + body.timeout_s
        self._num_bytes, self._is_whole = 0, False

    async def receive(self) -> Message:
        if self.refusal is not None:
            return DISCONNECT
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline_s):
                message = await self._receive()
        except TimeoutError:
            self.refusal = 408, f"The request did not arrive within {self._body.timeout_s:g} s. Try again."
            return DISCONNECT
        self._num_bytes += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._num_bytes > self._body.max_bytes:
            self.refusal = 413, too_large(self._body.max_bytes)
            return DISCONNECT
        return message

    async def send(self, message: Message) -> None:
        if self.refusal is None:
            self.has_answered = True
            await self._send(message)


def too_large(max_bytes: int) -> str:
    """The sentence for a body beyond its bound."""
    size = f"{max_bytes / 2**20:,.0f} MB" if max_bytes >= 2**20 else f"{max_bytes:,} bytes"
    return (
        f"This is over {size}, the most that can be sent here. Send less, or give a file of this machine by its path."
    )
