"""The one address that is served: this machine's own, never one that a network reaches."""

import socket
from contextlib import suppress

from core.errors import SetupError

HOST = "127.0.0.1"


def listen(port: int | None, usual: range) -> socket.socket:
    """A listening socket. `port` None takes the first free one of `usual`, 0 any.

    Clients that come before the server runs wait. Raises SetupError when the port, or every one, is taken.
    """
    for candidate in usual if port is None else [port]:
        if candidate in range(2**16):
            with suppress(OSError):
                listener = socket.create_server((HOST, candidate))
                # Connections inherit it: without it each small part of an answer waits 40 ms for the one before.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return listener
    taken = f"{usual.start} to {usual.stop - 1}" if port is None else str(port)
    raise SetupError(f"Port {taken} cannot be used.", "Choose another with --port.")
