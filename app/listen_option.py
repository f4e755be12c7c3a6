"""The options that open the page or the API to other machines, and what is said about it."""

import ipaddress
import socket
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass

import psutil

from app.loopback import HOST
from app.own_address import origin_of
from core.errors import ConfigError

EVERY_ADDRESS = ipaddress.IPv4Address(0)


@dataclass(frozen=True, slots=True)
class Opening:
    """Where to listen, and the names by which other machines may ask there beside loopback's."""

    host: str = HOST
    names: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        return self.host != HOST

    @property
    def has_proxy(self) -> bool:
        """Whether a proxy on this machine may stand before it, and then tells who asks."""
        return any("://" in name for name in self.names)

    @property
    def own_host(self) -> str:
        """Where this machine itself finds it."""
        return HOST if ipaddress.ip_address(self.host).is_unspecified else self.host

    def sentence(self, port: int, *, opens: str, needs: str) -> str:
        """What is open, and to whom."""
        addresses = ", ".join(origin_of(name, port) for name in self.names)
        return (
            f"OPEN TO OTHER MACHINES: whoever reaches this one as {addresses} and gives the {needs} can use {opens}.\n"
            "What is sent is not encrypted: use it in a network that you trust, or behind a proxy with TLS (--name).\n"
        )


THIS_MACHINE = Opening()


def add_listen_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        nargs="?",
        const=str(EVERY_ADDRESS),
        help="let other machines in, by this address of this machine or by every one (default: this machine alone)",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="NAME",
        help="with --listen: a name by which others ask, or the whole https:// address of a proxy (may be repeated)",
    )


def opening(arguments: Namespace) -> Opening:
    """What the options ask for. Raises ConfigError for an address or name that cannot be, or that says nothing."""
    if arguments.listen is None:
        if arguments.name:
            raise ConfigError("--name is of use with --listen alone.", "Give both or neither.")
        return THIS_MACHINE
    try:
        address = ipaddress.ip_address(arguments.listen)
    except ValueError as exc:
        raise ConfigError(
            f"--listen {arguments.listen} is no address.", "Give one of this machine's, or none for every one."
        ) from exc
    if address.is_loopback:
        raise ConfigError(f"--listen {address} opens nothing: that is this machine alone.", "Leave --listen out.")
    own = _addresses() if address.is_unspecified else [str(address)]
    names = tuple(dict.fromkeys((*own, socket.gethostname(), *arguments.name)))
    for name in names:
        origin_of(name, 0)
    return Opening(str(address), names)


def _addresses() -> list[str]:
    """This machine's addresses in networks."""
    found = [one.address for each in psutil.net_if_addrs().values() for one in each if one.family == socket.AF_INET]
    return [address for address in found if not ipaddress.ip_address(address).is_loopback]
