"""A small hub on loopback: the addresses that a download asks for, with faults that a test can switch on."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from core.folders import data_dir

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_SUFFIXES = (".safetensors", ".gguf", ".model", ".bin")


@dataclass
class Request:
    path: str
    range: str | None
    token: str | None


@dataclass
class FakeHub:
    """One repository. What a test changes is changed for the next request."""

    files: dict[str, bytes]
    name: str = "someone/some-model"
    commit: str = COMMIT
    url: str = ""
    storage_url: str = ""  # a second host for large files
    token: str | None = None  # the key that the repository asks for
    requests: list[Request] = field(default_factory=list)
    claims: dict[str, dict[str, Any]] = field(default_factory=dict)  # what the list says otherwise of a file
    bodies: dict[str, bytes] = field(default_factory=dict)  # what is sent once instead of a file
    extra: list[dict[str, Any]] = field(default_factory=list)  # further entries of the list
    cut_after: int | None = None  # bytes of a large file after which the line breaks, once
    stall: threading.Event | None = None  # waited for at that place instead
    reached: threading.Event = field(default_factory=threading.Event)
    ignores_range: bool = False
    answer: Callable[["Handler"], bool] = lambda handler: False  # takes over a request

    def siblings(self) -> list[dict[str, Any]]:
        """The list of files, with sizes and hashes."""
        return [{**entry(name, content), **self.claims.get(name, {})} for name, content in self.files.items()]

    def asked(self, name: str) -> list[str | None]:
        """The ranges in which a file was asked for at the endpoint."""
        return [request.range for request in self.requests if request.path.endswith(f"/resolve/{self.commit}/{name}")]


def entry(name: str, content: bytes) -> dict[str, Any]:
    """What a hub says of a file."""
    git_id = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    large = {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
    return {"rfilename": name, "size": len(content), "blobId": git_id, **(large if name.endswith(LFS_SUFFIXES) else {})}


class Handler(BaseHTTPRequestHandler):
    """The endpoint and, under /storage/, the place of the large files."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        hub = self.hub
        hub.requests.append(Request(path, self.headers.get("Range"), self.headers.get("Authorization")))
        if hub.answer(self):
            return
        if path.startswith("/storage/"):
            self.send_file(path.rpartition("/")[2])
        elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            self.send(401, headers={"X-Error-Code": "GatedRepo"})
        elif path in (f"/api/models/{hub.name}", *(f"/api/models/{hub.name}/revision/{r}" for r in ("v1", hub.commit))):
            self.send(200, json.dumps({"sha": hub.commit, "siblings": hub.siblings() + hub.extra}).encode())
        elif path.startswith(f"/api/models/{hub.name}/revision/"):
            self.send(404, headers={"X-Error-Code": "RevisionNotFound"})
        elif path.startswith(f"/{hub.name}/resolve/{hub.commit}/"):
            self.resolve(path.removeprefix(f"/{hub.name}/resolve/{hub.commit}/"))
        else:
            self.send(401, headers={"X-Error-Code": "RepoNotFound"})

    def resolve(self, name: str) -> None:
        if name.endswith(LFS_SUFFIXES) and self.hub.storage_url:
            self.send(302, headers={"Location": f"{self.hub.storage_url}/storage/{name}", "ETag": '"0"'})
        else:
            self.send_file(name)

    def send_file(self, name: str) -> None:
        hub = self.hub
        content = hub.bodies.pop(name, hub.files[name])
        range_header = None if hub.ignores_range else self.headers.get("Range")
        start = int(range_header.removeprefix("bytes=").rstrip("-")) if range_header else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("X-Repo-Commit", hub.commit)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        cut = hub.cut_after
        if cut is None or not name.endswith(LFS_SUFFIXES):
            self.wfile.write(content[start:])
            return
        hub.cut_after = None
        self.wfile.write(content[start : start + cut])
        self.wfile.flush()
        hub.reached.set()
        if hub.stall:
            hub.stall.wait(20)
        self.close_connection = True

    def send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve a hub on a free port; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed client is what tests do
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        if hub.stall:
            hub.stall.set()
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until_kept(num_bytes: int, name: str = "model.safetensors") -> None:
    """What the hub has sent may still be on its way to the disk."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(path.stat().st_size >= num_bytes for path in data_dir().rglob(f"*.partial/files/{name}")):
            return
        time.sleep(0.02)
    raise AssertionError(f"{num_bytes} bytes never came")
