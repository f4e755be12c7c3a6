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
                return socket.create_server((HOST, candidate))
    taken = f"{usual.start} to {usual.stop - 1}" if port is None else str(port)
    raise SetupError(f"Port {taken} cannot be used.", "Choose another with --port.")
