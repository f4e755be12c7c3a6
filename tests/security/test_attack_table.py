"""Every route of the page, of Gradio and of the API, times every attack: refused, and nothing behind hears of it.

The table is that of the program as it is served, so a route that somebody adds is attacked too, and one that is neither
written down as allowed nor closed fails.
"""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from app.allowed_routes import ALLOWED, ways_of
from app.guard import Guard, KeyGuard
from core.inference.server import CompletionServer
from tests.conftest import ROOT
from tests.figures import Figure
from tests.security.attacks import DISGUISED, FOREIGN, OWN, PORT, UNKNOWN, Asked, Spy, example, routes_of, send

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPEN = {"/health", "/login"}
KEY = "a key of at least sixteen"


@dataclass(frozen=True, slots=True)
class Served:
    """A route of the program as it is served."""

    path: str
    methods: frozenset[str]
    is_ours: bool


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> list[Served]:
    """Every route that `serve_page` would serve."""
    environment = os.environ | {"ASTRAI_HOME": str(tmp_path_factory.mktemp("home"))}
    command = [sys.executable, "-m", "tests.security.served_routes"]
    result = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    routes = [Served(example(one["path"]), frozenset(one["methods"]), one["is_ours"]) for one in found]
    assert len(routes) > 40
    return routes


def own_request(guard: Guard, method: str, path: str) -> Asked:
    """What the page itself sends."""
    bodies = [way.body for way in ways_of(path) if method in way.methods and way.body]
    kind = bodies[0].media_type if bodies else "application/json"
    return Asked(method, path, (
        ("host", OWN), ("cookie", f"{guard.cookie_name}={guard.cookie_value}"), ("origin", f"http://{OWN}"),
        ("sec-fetch-site", "same-origin"), ("content-type", kind), ("authorization", f"Bearer {KEY}"),
    ))  # fmt: skip


def test_every_attack_on_every_route_is_refused_and_reaches_nothing(table: list[Served], figure: Figure) -> None:
    spy = Spy()
    guard = Guard(spy, port=PORT, secret="x" * 43)
    passed, count = [], 0
    for path in sorted({route.path for route in table}):
        attacks = FOREIGN | (DISGUISED if path not in OPEN else {}) | (UNKNOWN if path not in OPEN else {})
        for method in METHODS:
            for name, change in attacks.items():
                if name in DISGUISED and method in ("GET", "HEAD") and name != "JSON as text/plain":
                    continue
                status, headers, _ = send(guard, change(own_request(guard, method, path)))
                count += 1
                if not 400 <= status < 500 or spy.reached or "set-cookie" in headers:
                    passed.append(f"{name}: {method} {path} gives {status}")
                    spy.reached.clear()
    figure("G12 requests", count)
    figure("G12 passed", len(passed))
    assert passed == []
    assert count > 60 * len({route.path for route in table})


def test_the_same_holds_for_the_api() -> None:
    spy = Spy()
    guard = KeyGuard(spy, port=PORT, key=KEY)
    paths = [example(path) for path, _, _ in routes_of(CompletionServer(lambda: None).app._app.routes)]  # type: ignore[arg-type,return-value,attr-defined]
    assert {"/v1/chat/completions", "/v1/embeddings", "/metrics", "/openapi.json"} <= {*paths}
    page = Guard(spy, port=PORT, secret="x" * 43)
    passed = []
    for path in (*paths, "/v1/anything"):
        for method in METHODS:
            for name, change in (FOREIGN | UNKNOWN | DISGUISED).items():
                if (name in UNKNOWN and path == "/health") or (name in DISGUISED and method in ("GET", "HEAD")):
                    continue
                status, _, _ = send(guard, change(own_request(page, method, path)))
                if not 400 <= status < 500 or spy.reached:
                    passed.append(f"{name}: {method} {path} gives {status}")
                    spy.reached.clear()
    assert passed == []


def test_a_request_of_the_page_itself_passes_where_it_is_allowed_and_nowhere_else(table: list[Served]) -> None:
    spy = Spy()
    guard = Guard(spy, port=PORT, secret="x" * 43)
    for path in sorted({route.path for route in table}):
        for method in METHODS:
            spy.reached.clear()
            status, headers, _ = send(guard, own_request(guard, method, path), drive=asyncio.run)
            is_allowed = any(method in way.methods for way in ways_of(path))
            is_here = path != "/login"  # the guard answers that itself
            assert (status == 200, bool(spy.reached)) == (is_allowed, is_allowed and is_here), f"{method} {path}"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_every_route_of_ours_is_allowed_by_name_and_every_allowed_way_leads_to_a_route(table: list[Served]) -> None:
    own = [route for route in table if route.is_ours]
    assert len(own) > 7
    for route in own:
        allowed = {method for way in ways_of(route.path) for method in way.methods}
        assert route.methods <= allowed, f"{route.path} is not in app/allowed_routes.py"
    used = {way.pattern.pattern for route in table for way in ways_of(route.path)}
    assert {way.pattern.pattern for way in ALLOWED} - used == set()


def test_without_the_cookie_health_and_login_alone_are_told_apart_from_closed(table: list[Served]) -> None:
    spy = Spy()
    guard = Guard(spy, port=PORT, secret="x" * 43)
    for path in sorted({route.path for route in table}):
        send(guard, own_request(guard, "GET", path).without("cookie"))
    assert {*spy.reached} == {"GET /health"}


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://evil.test/?d=secret", "/gradio_api/file=https:/evil.test",
        "/gradio_api/file=//evil.test",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file/C:/Windows/win.ini", "/gradio_api/proxy=http://evil.test",
        "/gradio_api/upload", "/gradio_api/upload_progress", "/gradio_api/component_server", "/gradio_api/info",
        "/gradio_api/call/x", "/gradio_api/api/x", "/gradio_api/openapi.json", "/gradio_api/stream/a/b/c/playlist.m3u8",
        "/gradio_api/deep_link", "/gradio_api/vibe-editor", "/gradio_api/mcp/sse", "/custom_component/x/client/y/z",
        "/openapi.json", "/docs", "/redoc", "/monitoring", "/robots.txt", "/logout", "/token", "/dev/reload",
        "/assets/../config", "/assets/..%2fconfig", "/static/....//....//etc/passwd", "/assets/%00",
        "//config", "/config/", "/Config", "/v1", "/V1/models", "/;/config", "/library/../config",
        "/studio/runs/..", "/health/", "/health\n",
    ],
)  # fmt: skip
def test_what_reads_files_fetches_addresses_or_documents_itself_is_closed(path: str) -> None:
    spy = Spy()
    guard = Guard(spy, port=PORT, secret="x" * 43)
    for method in METHODS:
        asked = own_request(guard, method, path)
        status, _, _ = send(guard, Asked(method, path, asked.headers))
        assert (400 <= status < 500, spy.reached) == (True, [])
