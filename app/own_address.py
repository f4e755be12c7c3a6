"""The names of this server, and what is refused whoever asks: other names and other sites.

A web page on the internet can make the browser send requests to this machine, under a name of its own (DNS rebinding)
or as a form (CSRF). Programs behind the API have no browser that tells where a request comes from; pages do.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from core.errors import ConfigError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
SAFE_METHODS = ("GET", "HEAD")
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}


class OwnAddress:
    """What this server is called: on its port by loopback's names and by `names`, or as whole origins of a proxy."""

    def __init__(self, port: int, names: Iterable[str] = ()) -> None:
        """Raises ConfigError for a name that cannot be one."""
        self.origins = frozenset(origin_of(name, port) for name in (*LOOPBACK_NAMES, *names))
        self._hosts = frozenset(origin.partition("://")[2] for origin in self.origins)

    def refusal(self, scope: Scope, *, is_page: bool) -> tuple[int, str] | None:
        """Status and sentence for a request that must not pass, or None."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "This address is not served here."
        if not self._is_own(headers, scope["method"], is_page=is_page):
            return 403, "Requests from other sites are refused."
        return None

    def _is_own(self, headers: Headers, method: str, *, is_page: bool) -> bool:
        origins = headers.getlist("origin")
        if any(origin.lower() not in self.origins for origin in origins):
            return False
        sites = headers.getlist("sec-fetch-site")
        if method not in SAFE_METHODS:
            # A browser tells one of both with whatever changes something; without TLS it leaves out the second.
            has_said = bool(origins or sites) or not is_page
            return has_said and all(site in ("same-origin", "none") for site in sites)
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in ("document", None)
        return is_link or all(site in ("same-origin", "none") for site in sites)


def origin_of(name: str, port: int) -> str:
    """The origin that a browser gives for a host name or address on `port`, or for a whole origin as it is.

    Raises: ConfigError for what is neither.
    """
    scheme, host, at = "http", name, port
    if "://" in name:
        parts = urlsplit(name)
        scheme, host, at = parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    if scheme not in DEFAULT_PORTS or not (HOST_NAME.fullmatch(host) or _is_address(host)):
        raise ConfigError(f"{name!r} is no name of a machine.", "Give one such as box.local or https://chat.example.")
    shown = f"[{host}]" if ":" in host else host.lower()
    return f"{scheme}://{shown}" + ("" if at == DEFAULT_PORTS[scheme] else f":{at}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
