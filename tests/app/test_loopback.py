"""Finding a port on this machine's own address."""

import socket
from collections.abc import Iterator

import pytest

from app.loopback import HOST, listen
from core.errors import SetupError


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


def test_the_next_free_port_is_taken(taken: int) -> None:
    with listen(None, range(taken, taken + 20)) as listener:
        host, port = listener.getsockname()
        assert host == HOST
        assert taken < port < taken + 20


def test_a_port_that_was_asked_for_is_not_replaced_by_another(taken: int) -> None:
    with pytest.raises(SetupError, match=f"Port {taken} cannot be used"):
        listen(taken, range(taken, taken + 20))


def test_when_all_are_taken_the_range_is_named(taken: int) -> None:
    with pytest.raises(SetupError, match=f"Port {taken} to {taken} cannot be used"):
        listen(None, range(taken, taken + 1))


def test_a_port_that_cannot_exist_is_a_sentence() -> None:
    with pytest.raises(SetupError, match="Port 99999 cannot be used"):
        listen(99999, range(8000, 8001))
