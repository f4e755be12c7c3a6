"""How often a password or a key may be tried: the wrong tries of the last minute, by the address that they came from.

Who has used them up is not heard, right or wrong, until a minute has gone by; else a guesser would learn as fast as it
can ask. Others are heard all the while.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Hashable

from starlette.types import Scope

WINDOW_S = 60.0
MAX_KEPT = 10_000  # of all addresses together; the oldest are forgotten
IPV6_NETWORK = 64  # bits that a provider gives to one customer: all its addresses are one


class WrongTries:
    """Tries that failed. One that is like another of the same address within the minute counts once."""

    def __init__(self, *, from_one: int, in_all: int | None = None) -> None:
        """At most `from_one` by each address, and `in_all` by all of them, are heard within WINDOW_S."""
        self._from_one, self._in_all = from_one, in_all
        self._tries: dict[tuple[str, Hashable], float] = {}  # in the order of their times
        self._counts: Counter[str] = Counter()

    def has_room(self, address: str) -> bool:
        """Whether this address is heard."""
        self._forget_old()
        has_place = self._in_all is None or len(self._tries) < self._in_all
        return has_place and self._counts[address] < self._from_one

    def add(self, address: str, what: Hashable) -> None:
        """Count a try: before it is judged where that takes time, or many at once would slip through meanwhile."""
        if (address, what) not in self._tries:
            self._tries[address, what] = time.monotonic()
            self._counts[address] += 1
        if len(self._tries) > MAX_KEPT:
            self.forgive(*next(iter(self._tries)))

    def forgive(self, address: str, what: Hashable) -> None:
        """Forget a try, as if it had not been."""
        if self._tries.pop((address, what), None) is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]

    def _forget_old(self) -> None:
        while self._tries:
            oldest, at = next(iter(self._tries.items()))
            if at > time.monotonic() - WINDOW_S:
                return
            self.forgive(*oldest)


def address_of(scope: Scope) -> str:
    """Who asks: an address, or for IPv6 its network."""
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
