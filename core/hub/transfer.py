"""Bytes from the hub over HTTP, bounded and checked. Runs in the child alone, whose environment allows the network.

huggingface_hub gives the addresses and the session with its proxies; the loop that reads is ours, since
theirs writes what a server sends for as long as it sends, and takes a file for whole without looking at its hash.
Redirects are followed one by one: an answer about a repository may only come from the endpoint itself (a renamed
repository leads there to its new name), the bytes of a file from any host, as the hub's storage has hosts of its
own, but never over plain HTTP when the endpoint is HTTPS. The key is sent to the endpoint only.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx2
from huggingface_hub import constants, get_session, hf_hub_url

from core.errors import DownloadError
from core.hub.listing import Check, Listing, RepoFile
from core.hub.places import KEPT, HubName

MAX_REDIRECTS = 5
MAX_ANSWER_BYTES = 32 * 2**20
ANSWER_LIMIT_S = 60.0
MAX_TRIES = 5
MAX_WAIT_S = 60.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BUSY = frozenset((408, 429, 500, 502, 503, 504))

T = TypeVar("T")


class _BusyError(Exception):
    """The hub asks to come back later."""

    def __init__(self, status: int, wait_s: float) -> None:
        super().__init__(f"status {status}")
        self.status, self.wait_s = status, wait_s


class Hub:
    """One endpoint and the key for it."""

    def __init__(
        self, token: str | None, *, wait_s: float, connecting: Callable[[str], None] = lambda host: None
    ) -> None:
        """`wait_s` passes before the second try, and twice as much before each further one; `connecting` is told each
        host before the first connection to it.

        Raises: DownloadError for a key or an endpoint that is none, or that would be sent the key unencrypted.
        """
        if token and not (token.isascii() and token.isprintable()):
            raise DownloadError("HF_TOKEN holds characters that no token has.", "Set it again, without line breaks.")
        self.endpoint = constants.ENDPOINT
        self._has_token = token is not None
        self._wait_s, self._connecting = wait_s, connecting
        self._hosts: set[str] = set()
        # Sizes and hashes are of the bytes as they are stored: no compression on the way.
        self._headers = {"User-Agent": "astrai", "Accept-Encoding": "identity"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DownloadError(
                "HF_ENDPOINT is {address!r}.", "Set it to the https:// address of a hub.", address=self.endpoint
            )
        if token and parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise DownloadError(
                "HF_ENDPOINT is {address}, and HF_TOKEN would be sent there unencrypted.",
                "Use an https:// address, or unset HF_TOKEN.",
                address=self.endpoint,
            )

    def listing(self, name: HubName, revision: str | None) -> Listing:
        """The commit behind a revision, None being the default branch, and its files. Raises DownloadError."""
        place = f"/revision/{quote(revision, safe='')}" if revision else ""
        url = f"{self.endpoint}/api/models/{name.repo_id}{place}?blobs=true"
        content = self._patiently(lambda: self._answer(url, name, revision, MAX_ANSWER_BYTES))
        try:
            return Listing.from_answer(name, json.loads(content))
        except (ValueError, RecursionError) as exc:
            raise DownloadError(
                "What answers at {address} is no hub: its answer is no JSON.",
                "Look at HF_ENDPOINT.",
                address=self.endpoint,
            ) from exc

    def content(self, listing: Listing, file: RepoFile, limit: int) -> bytes:
        """A small file as a whole. Raises DownloadError if it is larger than `limit` or not what the list says."""
        if file.size > limit:
            raise DownloadError(
                "{file} is said to have {size:,} bytes, at most {most:,} make sense.",
                "Do not trust it.",
                file=file.name,
                size=file.size,
                most=limit,
            )
        url = self.url(listing, file)
        content = self._patiently(lambda: self._answer(url, listing.name, file.name, file.size))
        check = Check(file)
        check.update(content)
        if not check.is_right:
            raise _wrong(file, check)
        return content

    def fetch(self, listing: Listing, file: RepoFile, part: Path, report: Callable[[int], None]) -> str:
        """Bring a file into `part`, of which a beginning may be there, and give its SHA-256.

        `report(bytes)` is told how much of it is there. What is not as the list says is fetched a second time.
        Raises: DownloadError; OSError when it cannot be written.
        """
        check = Check(file)
        for _ in range(2):
            with part.open("ab", buffering=0) as target:
                check.read(part)
                self._complete(self.url(listing, file), Incoming(listing.name, file, check, target, report))
                os.fsync(target.fileno())
            if check.is_right:
                return check.sha256
            wrong, check = _wrong(file, check), Check(file)
            part.unlink()
        raise wrong

    def url(self, listing: Listing, file: RepoFile) -> str:
        """Where a file of this commit is."""
        return hf_hub_url(listing.name.repo_id, file.name, revision=listing.commit, endpoint=self.endpoint)

    def _complete(self, url: str, incoming: "Incoming") -> None:
        while incoming.check.size < incoming.file.size:
            self._patiently(lambda: self._receive(url, incoming), lambda: incoming.check.size)

    def _receive(self, url: str, incoming: "Incoming") -> None:
        """Read on where the file ends so far. A server that sends on after the file's size is not listened to."""
        start = incoming.check.size
        with self._open(url, start=start, is_file=True) as response:
            if start and response.status_code in (200, 416):  # it cannot go on in the middle, or not there
                incoming.restart()
            if start and response.status_code == 416:
                return
            self._check_status(response, incoming.name, incoming.file.name)
            for chunk in response.iter_raw():
                incoming.take(chunk)
                if incoming.check.size >= incoming.file.size:
                    return
        raise httpx2.RemoteProtocolError("the answer ended early")

    def _answer(self, url: str, name: HubName, wanted: str | None, limit: int) -> bytes:
        """A whole answer of at most `limit` bytes; `wanted` is the file or the revision that is asked for."""
        content = bytearray()
        deadline = time.monotonic() + ANSWER_LIMIT_S
        is_file = "/resolve/" in url
        with self._open(url, is_file=is_file) as response:
            self._check_status(response, name, wanted)
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > limit:
                    raise DownloadError(
                        "The hub's answer about {name} is longer than {most:,} bytes.",
                        "Do not trust it.",
                        name=name.repo_id,
                        most=limit,
                    )
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout("the answer takes too long")
        return bytes(content)

    @contextmanager
    def _open(self, url: str, *, start: int = 0, is_file: bool) -> Iterator[httpx2.Response]:
        """Ask for an address, and follow where it leads as far as that is allowed."""
        headers = {**self._headers, **({"Range": f"bytes={start}-"} if start else {})}
        for _ in range(MAX_REDIRECTS + 1):
            if _origin(url) != _origin(self.endpoint):
                headers.pop("Authorization", None)
            if (host := urlsplit(url).netloc) not in self._hosts:
                self._hosts.add(host)
                self._connecting(host)
            with get_session().stream(
                "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, follow_redirects=False
            ) as response:
                if not response.has_redirect_location:
                    yield response
                    return
                url = self._redirected(url, response.headers["Location"], is_file=is_file)
        raise DownloadError(
            "The hub redirects more than {most} times.", "Try later, or look at HF_ENDPOINT.", most=MAX_REDIRECTS
        )

    def _redirected(self, url: str, location: str, *, is_file: bool) -> str:
        """The address that a redirect leads to. Raises DownloadError when it may not."""
        try:
            target = urljoin(url, location)
            scheme, host, _ = _origin(target)
            httpx2.URL(target)
        except (ValueError, httpx2.InvalidURL) as exc:
            raise DownloadError("The hub redirects to an address that is none.", "Do not trust it.") from exc
        is_weaker = scheme != "https" and scheme != urlsplit(self.endpoint).scheme
        if is_weaker or (not is_file and _origin(target) != _origin(self.endpoint)):
            raise DownloadError(
                "The hub at {address} redirects to {scheme}://{host!a}, which is not followed.",
                "Set HF_ENDPOINT to the address of the hub itself.",
                address=self.endpoint,
                scheme=scheme,
                host=host[:100],
            )
        return target

    def _check_status(self, response: httpx2.Response, name: HubName, wanted: str | None) -> None:
        """Raises DownloadError for what cannot be had, _BusyError for what may be had later."""
        status, code = response.status_code, response.headers.get("X-Error-Code")
        if status in (200, 206):
            return
        if status in BUSY:
            after = response.headers.get("Retry-After", "")
            raise _BusyError(status, float(after) if after.isdecimal() and len(after) < 6 else 0.0)
        page = f"{self.endpoint}/{name.repo_id}"
        if code == "GatedRepo" or status == 403:
            raise DownloadError(
                "{name} is only for those who were given access, HF_TOKEN has no access to it."
                if self._has_token
                else "{name} is only for those who were given access, and HF_TOKEN is not set.",
                "Ask for it at {page}, make a token at https://huggingface.co/settings/tokens and set HF_TOKEN to it.",
                name=name.repo_id,
                page=page,
            )
        if code == "RevisionNotFound" or (status == 404 and code == "EntryNotFound"):
            raise DownloadError(
                "{name} has no {missing}.",
                "{page}/commits/main shows what there is.",
                name=name.repo_id,
                missing=wanted,
                page=page,
            )
        if status in (401, 404):
            raise DownloadError(
                "There is no model {name} at {address}, or not for everyone.",
                "Check the name; if it is private or gated, set HF_TOKEN to a token that may read it.",
                name=name.repo_id,
                address=self.endpoint,
            )
        raise DownloadError(
            "The hub answers with status {status}.", "Try later, or look at HF_ENDPOINT.", status=status
        )

    def _patiently(self, action: Callable[[], T], size: Callable[[], int] | None = None) -> T:
        """Try again after faults of the line. Where `size` grew meanwhile, they are counted anew.

        Raises: DownloadError when it goes on too long, or at once when nothing answers at all.
        """
        failures, before = 0, size() if size else 0
        while True:
            try:
                return action()
            except (httpx2.TransportError, _BusyError) as exc:
                now = size() if size else 0
                failures, before = (1 if now > before else failures + 1), now
                if failures >= MAX_TRIES or (size is None and isinstance(exc, httpx2.ConnectError)):
                    raise self._failure(exc) from exc
                asked_s = exc.wait_s if isinstance(exc, _BusyError) else 0.0
                time.sleep(min(MAX_WAIT_S, max(asked_s, self._wait_s * 2 ** (failures - 1))))

    def _failure(self, exc: Exception) -> DownloadError:
        if isinstance(exc, _BusyError):
            return DownloadError(
                "The hub at {address} is too busy ({reason}).",
                "Wait a little and start again; it goes on where it stopped.",
                address=self.endpoint,
                reason=exc,
            )
        if "CERTIFICATE_VERIFY_FAILED" in str(exc):
            return DownloadError(
                "The certificate of {address} was not accepted.",
                "Behind a proxy that opens TLS, set SSL_CERT_FILE to its certificate.",
                address=self.endpoint,
            )
        if isinstance(exc, httpx2.TimeoutException):
            limit_s = constants.HF_HUB_DOWNLOAD_TIMEOUT
            return DownloadError(
                "{address} did not answer within {seconds} s, {times} times.",
                KEPT,
                address=self.endpoint,
                seconds=limit_s,
                times=MAX_TRIES,
            )
        if isinstance(exc, httpx2.ConnectError | httpx2.ProxyError):
            return DownloadError(
                "{address} cannot be reached.",
                "Check the network, HF_ENDPOINT and the proxy, and start again; it goes on where it stopped.",
                address=self.endpoint,
            )
        return DownloadError("{address} breaks off again and again.", KEPT, address=self.endpoint)


@dataclass(slots=True)
class Incoming:
    """A file on its way: what has come of it, and where it is put."""

    name: HubName
    file: RepoFile
    check: Check
    target: BinaryIO
    report: Callable[[int], None]

    def take(self, chunk: bytes) -> None:
        """Put the next bytes, but none beyond the file's size."""
        chunk = chunk[: self.file.size - self.check.size]
        rest = memoryview(chunk)
        while rest:
            rest = rest[self.target.write(rest) :]
        self.check.update(chunk)
        self.report(self.check.size)

    def restart(self) -> None:
        """Forget what has come."""
        self.target.truncate(0)
        self.check.reset()


def _origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port. Raises ValueError for a port that is none."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)


def _wrong(file: RepoFile, check: Check) -> DownloadError:
    expected = f"SHA-256 {file.sha256[:16]}…" if file.sha256 else f"git's {file.git_id[:16]}…"
    return DownloadError(
        "{file} is not what the hub's list says: {size:,} of {total:,} bytes came, of SHA-256 {found}…, and the list"
        " has {expected}",
        "Start again; if it stays so, the hub or a proxy serves changed files.",
        file=file.name,
        size=check.size,
        total=file.size,
        found=check.sha256[:16],
        expected=expected,
    )
