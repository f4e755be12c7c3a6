"""What a hostile page, neighbour or program may send: each attack changes a request that would pass, in one thing."""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp

PORT = 7860
OWN = f"127.0.0.1:{PORT}"
EVIL = "evil.test"
FILLED = {
    "conversation_id": "0123456789abcdef",
    "conversation": "0123456789abcdef",
    "message": "1",
    "ending": "json",
    "document_id": "1",
    "start": "1",
    "end": "2",
    "page": "1",
    "batch": "batch00001",
    "run": "run-1",
    "path": "a.js",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrives; headers may be there more than once."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    is_websocket: bool = False

    def without(self, *names: str) -> "Asked":
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] not in names))

    def having(self, *pairs: tuple[str, str]) -> "Asked":
        """These headers, instead of what was there under their names."""
        kept = self.without(*(name for name, _ in pairs)).headers
        return replace(self, headers=(*kept, *pairs))


Change = Callable[[Asked], Asked]


def _host(*values: str) -> Change:
    return lambda asked: asked.without("host").having(*(("host", value) for value in values))


def _origin(*values: str) -> Change:
    return lambda asked: asked.without("origin").having(*(("origin", value) for value in values))


def _fetched(site: str, mode: str, dest: str) -> Change:
    pairs = (("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest))
    return lambda asked: asked.without("origin").having(*pairs)


FOREIGN: dict[str, Change] = {
    "a foreign host": _host(f"{EVIL}:{PORT}"),
    "a foreign host without a port": _host(EVIL),
    "the wrong port": _host("127.0.0.1:80"),
    "no port": _host("127.0.0.1"),
    "a port alone": _host(f":{PORT}"),
    "an empty host": _host(""),
    "no host": lambda asked: asked.without("host"),
    "two hosts": _host(OWN, f"{EVIL}:{PORT}"),
    "the own host twice": _host(OWN, OWN),
    "a host that begins with ours": _host(f"localhost.{EVIL}:{PORT}"),
    "a host that ends with ours": _host(f"{EVIL}@127.0.0.1:{PORT}"),
    "a host with a dot": _host(f"localhost.:{PORT}"),
    "the address of all": _host(f"0.0.0.0:{PORT}"),
    "another spelling of loopback": _host(f"2130706433:{PORT}"),
    "another address of loopback": _host(f"127.0.0.2:{PORT}"),
    "a foreign origin": _origin(f"http://{EVIL}:{PORT}"),
    "the null origin": _origin("null"),
    "an empty origin": _origin(""),
    "our host by https": _origin(f"https://{OWN}"),
    "our host on another port": _origin("http://127.0.0.1:8000"),
    "two origins": _origin(f"http://{OWN}", f"http://{EVIL}"),
    "a page of another site": _fetched("cross-site", "cors", "empty"),
    "an image of another site": _fetched("cross-site", "no-cors", "image"),
    "a page of another port": _fetched("same-site", "cors", "empty"),
    "a frame of another site": _fetched("cross-site", "navigate", "iframe"),
    "a websocket": lambda asked: replace(asked, method="GET", is_websocket=True),
    "a websocket of another site": lambda asked: replace(
        asked.having(("origin", f"http://{EVIL}")), method="GET", is_websocket=True
    ),
}
UNKNOWN: dict[str, Change] = {
    "no cookie and no key": lambda asked: asked.without("cookie", "authorization"),
    "an empty cookie and key": lambda asked: asked.having(("cookie", ""), ("authorization", "")),
    "a wrong cookie and key": lambda asked: asked.having(
        ("cookie", f"astrai_{PORT}=x; session=x"), ("authorization", "Bearer x")
    ),
    "two keys and no cookie": lambda asked: replace(
        asked.without("cookie"), headers=(*asked.without("cookie").headers, ("authorization", "Bearer x"))
    ),
}
DISGUISED: dict[str, Change] = {
    "JSON as text/plain": lambda asked: replace(asked.having(("content-type", "text/plain")), body=b"{}"),
    "a form": lambda asked: replace(asked.having(("content-type", "multipart/form-data; boundary=x")), body=b"{}"),
    "no type": lambda asked: replace(asked.without("content-type"), body=b"{}"),
    "two types": lambda asked: replace(
        asked,
        headers=(*asked.headers, ("content-type", "text/plain"), ("content-type", "application/json")),
        body=b"{}",
    ),
}


def routes_of(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[tuple[str, frozenset[str], BaseRoute]]:
    """Path, methods and route of everything that an application answers, also within what it includes and mounts."""
    for route in routes:
        if isinstance(route, Mount):
            yield from routes_of(getattr(route.app, "routes", []), prefix + route.path)
        elif (router := getattr(route, "original_router", None)) is not None:
            yield from routes_of(router.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]
        else:
            yield prefix + route.path, frozenset(getattr(route, "methods", None) or {"GET"}), route  # type: ignore[attr-defined]


def example(path: str) -> str:
    """A path that a route answers, for its pattern."""
    parts = path.replace("}", "{").split("{")
    return "".join(part if i % 2 == 0 else FILLED.get(part.partition(":")[0], "file1") for i, part in enumerate(parts))


def send(
    app: ASGIApp, asked: Asked, *, drive: Callable[[Any], None] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; a websocket that is closed counts as 403."""
    sent: list[MutableMapping[str, Any]] = []
    body = [asked.body]
    length = [] if not asked.body else [("content-length", str(len(asked.body)))]
    path, _, query = asked.path.partition("?")
    scope = {
        "type": "websocket" if asked.is_websocket else "http",
        "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "ws" if asked.is_websocket else "http",
        "method": asked.method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "root_path": "", "client": ("127.0.0.1", 50000), "server": ("127.0.0.1", PORT), "extensions": {},
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in (*asked.headers, *length)],
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if asked.is_websocket:
            return {"type": "websocket.connect"}
        return {"type": "http.request", "body": body.pop() if body else b"", "more_body": False}

    async def keep(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    (drive or run_once)(app(scope, receive, keep))
    if sent[0]["type"] == "websocket.close":
        return 403, {}, b""
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(one.get("body", b"") for one in sent[1:])


def run_once(work: Awaitable[None]) -> None:
    """Drive what waits for nothing; a loop for each of thousands of requests would take longer than they do."""
    coroutine = work.__await__()
    try:
        next(coroutine)
    except StopIteration:
        return
    raise AssertionError("the guard waits for something")


class Spy:
    """The application behind a guard: remembers that it was reached."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(f"{scope['method'] if scope['type'] == 'http' else scope['type']} {scope['path']}")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})
