"""The address that is served: this machine's own, unless the user opens another one to the network."""

import socket
from contextlib import suppress

from core.errors import SetupError

HOST = "127.0.0.1"


def listen(port: int | None, usual: range, host: str = HOST) -> socket.socket:
    """A listening socket. `port` None takes the first free one of `usual`, 0 any.

    Clients that come before the server runs wait. Raises SetupError when the port, or every one, is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in usual if port is None else [port]:
        if candidate in range(2**16):
            with suppress(OSError):
                listener = socket.create_server((host, candidate), family=family)
                # Connections inherit it: without it each small part of an answer waits 40 ms for the one before.
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return listener
    taken = f"{usual.start} to {usual.stop - 1}" if port is None else str(port)
    where = "" if host == HOST else f" of {host}"
    raise SetupError(f"Port {taken}{where} cannot be used.", "Choose another with --port.")
