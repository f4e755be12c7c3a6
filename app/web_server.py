"""uvicorn as both servers of this program run it: on loopback, quiet, and with deadlines for slow clients.

uvicorn gives a connection that sends nothing, or a header a minute, for ever; each costs a socket. It also waits for
ever for a client that does not read, while what it asked for takes up memory. Bodies have their own deadline in
`core.inference.server.body`.
"""

import asyncio
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0  # with 64 KiB and the system's own buffers full
KEEP_ALIVE_S = 30  # longer than clients keep an idle connection, or they use one as it is closed
MAX_HEAD_BYTES = 32 * 1024
GRACE_S = 1  # an open page never ends its stream of events by itself


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 that ends a connection whose request line and headers, or whose reading, take too long.

    The application learns of it as of a client that leaves.
    """

    _head_deadline: asyncio.TimerHandle | None = None
    _read_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        answered = self.cycle
        super().handle_events()
        if self.cycle is not answered:
            self._disarm()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._disarm()
        super().handle_websocket_upgrade(event)

    def data_received(self, data: bytes) -> None:
        """uvicorn's own limit between two requests ends with the first byte of the next one; ours starts there."""
        if self._head_deadline is None and self.cycle is not None and self.cycle.response_complete:
            self._await_head()
        super().data_received(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_deadline = self.loop.call_later(READ_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_waiting()
        super().resume_writing()

    def _stop_waiting(self) -> None:
        if self._read_deadline is not None:
            self._read_deadline.cancel()
            self._read_deadline = None

    def _await_head(self) -> None:
        self._disarm()
        self._head_deadline = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _disarm(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _give_up(self) -> None:
        self._head_deadline = None
        self.transport.abort()


def web_config(app: ASGIApp, *, has_proxy: bool = False, **options: Any) -> uvicorn.Config:
    """The settings of a server of this program. Only where there `has_proxy` a request may say from whom it comes."""
    return uvicorn.Config(
        app,
        http=DeadlineProtocol,
        proxy_headers=has_proxy,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        **options,
    )
