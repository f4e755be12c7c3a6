"""The privacy receipt: what this program connected to, kept in the data folder.

Two sources. A hook on Python's own `socket.connect` event sees every connection that this process makes or tries, by
whatever library; those beyond this machine are written down. Downloads run in a child, which says each host before it
connects to it. What native code or another child did would not be seen here: the tests look at the system calls of
a whole session for that.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from core.errors import AssistantError
from core.files import read_json_object, write_json

logger = logging.getLogger(__name__)

FILE = "receipt.json"
MAX_KEPT = 500
UNMARKED = "connection"
LOCAL_NAMES = frozenset({"localhost", ""})


@dataclass(frozen=True, slots=True)
class Visit:
    """One occasion on which something was connected to. `what` is a download's name, or UNMARKED for what is none."""

    what: str
    hosts: tuple[str, ...]
    began_at: float
    ended_at: float
    num_bytes: int = 0
    files: tuple[str, ...] = ()


class Receipt:
    """The list of visits. Methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._lock = threading.RLock()
        self.started_at = time.time()
        self._visits = self._read()

    def visits(self) -> list[Visit]:
        """Every visit, the newest first."""
        with self._lock:
            return list(reversed(self._visits))

    def since_start(self) -> list[Visit]:
        """Those since this program was started."""
        return [visit for visit in self.visits() if visit.ended_at >= self.started_at]

    def begin(self, what: str) -> "OpenVisit":
        """A visit that begins with its first connection."""
        return OpenVisit(what, self._keep)

    def watch(self) -> None:
        """Write down each connection of this process that leaves this machine, from now on and for good."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, details: tuple[Any, ...]) -> None:
        if event == "socket.connect" and (host := outside_host(details[1])):
            now = time.time()
            self._keep(Visit(UNMARKED, (host,), now, now))

    def _keep(self, visit: Visit) -> None:
        """Add a visit, or replace the state of it that was kept before."""
        with self._lock:
            same = [n for n, old in enumerate(self._visits) if (old.what, old.began_at) == (visit.what, visit.began_at)]
            if same:
                self._visits[same[0]] = visit
            else:
                self._visits = [*self._visits, visit][-MAX_KEPT:]
            try:
                write_json(self._path, {"visits": [asdict(one) for one in self._visits]})
            except OSError:
                logger.exception("writing the receipt")

    def _read(self) -> list[Visit]:
        if not self._path.exists():
            return []
        try:
            rows = read_json_object(self._path)["visits"]
            return [replace(Visit(**row), hosts=tuple(row["hosts"]), files=tuple(row["files"])) for row in rows]
        except (AssistantError, KeyError, TypeError):
            logger.exception("reading the receipt")
            return []


@dataclass
class OpenVisit:
    """A visit under way: written down at its first connection and at each new host, and once more at its end."""

    what: str
    keep: Callable[[Visit], None]
    hosts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    began_at: float = 0.0
    _first_bytes: int | None = None
    _num_bytes: int = 0

    def connecting(self, host: str) -> None:
        """Note a host before it is connected to."""
        self.began_at = self.began_at or time.time()
        self.hosts.append(host)
        self._tell()

    def bytes_at(self, file: str, done_bytes: int) -> None:
        """Note how much is here; the first call says what was here before."""
        if self._first_bytes is None:
            self._first_bytes = done_bytes
        self._num_bytes = max(self._num_bytes, done_bytes - self._first_bytes)
        if file and file not in self.files:
            self.files.append(file)

    def end(self) -> None:
        """Write down the whole of it; nothing where nothing was connected to."""
        if self.hosts:
            self._tell()

    def _tell(self) -> None:
        hosts, files = tuple(self.hosts), tuple(self.files)
        self.keep(Visit(self.what, hosts, self.began_at, time.time(), self._num_bytes, files))


def outside_host(address: Any) -> str | None:
    """The host of a socket's address, None where it is this machine itself.

    A path of a Unix socket and whatever else is no (host, port, …) never leaves it.
    """
    if not isinstance(address, tuple) or len(address) < 2 or not isinstance(address[0], str):
        return None
    host = address[0]
    if host in LOCAL_NAMES:
        return None
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return None if found.is_loopback or found.is_unspecified else host
