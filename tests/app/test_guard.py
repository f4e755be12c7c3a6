"""The door: exact Host, own Origin, one-time login, cookie; and headers on every answer."""

import asyncio
import base64
import hashlib
import re
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app import allowed_routes
from app.allowed_routes import ALLOWED
from app.guard import Guard, KeyGuard, session_secret
from app.guard_headers import PAGE_STYLE

BASE = "http://127.0.0.1:7860"
SECRET = "s3cret"
JOIN = "/gradio_api/queue/join"
FILES = "/library/files/batch00001"


async def inside(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("inside")


def make_guard() -> Guard:
    paths = ["/", "/health", "/config", "/assets/{rest:path}", "/gradio_api/{rest:path}", "/library/files/{batch}"]
    routes = [Route(path, inside, methods=["GET", "POST"]) for path in paths]
    return Guard(Starlette(routes=routes), port=7860, secret=SECRET)


NAME = make_guard().cookie_name


@pytest.fixture
def guard() -> Guard:
    return make_guard()


def ask(
    guard: Guard | KeyGuard, path: str = "/", *, method: str = "GET", content: bytes | None = None, **headers: str
) -> httpx.Response:
    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=BASE) as client:
            return await client.request(method, path, headers=headers, content=content)

    return asyncio.run(send())


def with_cookie(**headers: str) -> dict[str, str]:
    return {"cookie": f"{NAME}={SECRET}", **headers}


def post(guard: Guard, content: bytes = b"{}", path: str = JOIN, **headers: str) -> httpx.Response:
    """What the page sends."""
    own = {"content-type": "application/json", "origin": BASE, "sec-fetch-site": "same-origin"}
    return ask(guard, path, method="POST", content=content, **with_cookie(**own | headers))


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST:7860"])
def test_own_names_with_the_cookie_pass(guard: Guard, host: str) -> None:
    assert ask(guard, **with_cookie(host=host)).text == "inside"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:7860", "127.0.0.1:7860.evil.example",
        "0.0.0.0:7860", "",
    ],
)  # fmt: skip
def test_other_names_are_refused_even_with_the_cookie(guard: Guard, host: str) -> None:
    assert ask(guard, **with_cookie(host=host)).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:7860", "http://127.0.0.1:8000"])
def test_foreign_origins_are_refused(guard: Guard, origin: str) -> None:
    assert ask(guard, **with_cookie(origin=origin)).status_code == 403
    assert post(guard, origin=origin).status_code == 403


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_posts_come_from_the_page_itself(guard: Guard, site: str, status: int) -> None:
    assert post(guard, **{"sec-fetch-site": site}).status_code == status


def test_whatever_changes_something_says_where_it_comes_from(guard: Guard) -> None:
    silent = with_cookie(**{"content-type": "application/json"})
    assert ask(guard, JOIN, method="POST", content=b"{}", **silent).status_code == 403
    for name, value in (("origin", BASE), ("sec-fetch-site", "same-origin")):
        assert ask(guard, JOIN, method="POST", content=b"{}", **silent, **{name: value}).text == "inside"


def test_without_the_cookie_only_health_answers(guard: Guard) -> None:
    assert ask(guard, "/health").text == "inside"
    for path in ("/", "/config", "/gradio_api/queue/data", "/assets/index.js"):
        assert ask(guard, path).status_code == 401
    assert ask(guard, cookie=f"{NAME}=wrong").status_code == 401
    assert ask(guard, cookie=f"astrai_7860={SECRET}").status_code == 401


def test_the_cookie_is_named_by_port_and_installation() -> None:
    names = {Guard(inside, port=port, secret=key).cookie_name for port in (1, 2) for key in ("a", "b")}  # type: ignore[arg-type]
    assert len(names) == 4
    assert not any("a_" in name.removeprefix("astrai_") or "b_" in name for name in names)


def test_the_login_link_works_once_and_gives_a_strict_cookie(guard: Guard) -> None:
    answer = ask(guard, guard.login_path)
    assert answer.status_code == 200
    assert re.search(r'http-equiv="refresh" content="0;url=/"', answer.text)
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in (f"{NAME}=", "httponly", "samesite=strict", "path=/"))
    assert ask(guard, guard.login_path).status_code == 401
    assert ask(guard, guard.login_path, **with_cookie()).status_code == 200


def test_a_wrong_login_token_is_refused_and_does_not_spend_the_right_one(guard: Guard) -> None:
    assert ask(guard, "/login?token=x").status_code == 401
    assert ask(guard, "/login").status_code == 401
    assert ask(guard, guard.login_path).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_sites_may_link_here_but_not_load_from_here(guard: Guard, site: str) -> None:
    for mode, status in (("navigate", 200), ("no-cors", 403), ("cors", 403)):
        fetched = with_cookie(**{"sec-fetch-site": site, "sec-fetch-mode": mode})
        assert ask(guard, "/config", **fetched).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=https://evil.example/?d=1", "/gradio_api/file=HTTP://evil.example", "/gradio_api/stream/x",
        "/gradio_api/file/https://evil.example/", "/gradio_api/file/etc/passwd", "/gradio_api/proxy=https://x",
        "/gradio_api/upload", "/assets/%2e%2e/config", "/gradio_api/openapi.json", "/dev/reload", "/openapi.json",
        "/config/",
    ],
)  # fmt: skip
def test_routes_that_the_page_does_not_need_are_closed(guard: Guard, path: str) -> None:
    assert ask(guard, path, **with_cookie()).status_code == 403


@pytest.mark.parametrize(
    "others", ["a@b=1", "a/b=1", 'foo={"a":1,"b":2}', "a=b c", 'foo="bar', "path=/", "secure", "", f"{NAME}=wrong"]
)
def test_cookies_of_other_programs_of_this_machine_lock_nobody_out(guard: Guard, others: str) -> None:
    for cookie in (f"{others}; {NAME}={SECRET}", f"{NAME}={SECRET}; {others}"):
        assert ask(guard, cookie=cookie).text == "inside"


def test_every_answer_carries_the_policy(guard: Guard) -> None:
    for answer in (ask(guard, **with_cookie()), ask(guard), ask(guard, host="evil.example")):
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?:|\*", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_gradios_page_may_ask_this_server_alone_and_all_else_may_nothing(guard: Guard) -> None:
    policies = {path: ask(guard, path, **with_cookie()).headers["content-security-policy"] for path in ("/", "/health")}
    assert "connect-src 'self'" in policies["/"]
    assert "form-action 'self'" in policies["/"]
    for policy in (policies["/health"], ask(guard, "/closed").headers["content-security-policy"]):
        assert policy.startswith("default-src 'none'; ")
        assert "'self'" not in policy
    locked = ask(guard).headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode()
    assert locked.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert PAGE_STYLE in ask(guard).text


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "sentence"),
    [
        (JOIN, b"x" * (8 * 2**20 + 1), {}, 413, "This is over 8 MB"),
        (JOIN, b"{}", {"content-length": str(2**62)}, 413, "This is over 8 MB"),
        (FILES, b"", {"content-type": "application/octet-stream", "content-length": "600000000"}, 413, "over 512 MB"),
        (JOIN, b"{}", {"content-type": "text/plain"}, 415, "Send the body as application/json."),
        (JOIN, b"{}", {"content-type": "multipart/form-data; boundary=x"}, 415, "Send the body as application/json."),
        (JOIN, b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "Send the body as"),
        (FILES, b"x", {"content-type": "text/plain"}, 415, "Send the body as application/octet-stream."),
    ],
)
def test_bodies_that_are_too_large_or_of_another_type_are_refused_in_a_sentence(
    guard: Guard, path: str, content: bytes, headers: dict[str, str], status: int, sentence: str
) -> None:
    answer = post(guard, content, path, **headers)
    assert answer.status_code == status
    assert sentence in answer.json()["error"]


def test_what_takes_no_body_refuses_one(guard: Guard) -> None:
    assert ask(guard, "/config", content=b"x", **with_cookie()).status_code == 413
    assert ask(guard, "/config", method="DELETE", **with_cookie(origin=BASE)).status_code == 405


def told(guard: Guard, parts: list[bytes], pause_s: float = 0) -> tuple[int, bytes]:
    """Status and body of the answer to a body that comes in parts and says no length."""

    async def send() -> tuple[int, bytes]:
        headers = {
            "host": "127.0.0.1:7860", "origin": BASE,
            "content-type": "application/json", "transfer-encoding": "chunked",
        }  # fmt: skip
        raw = [(name.encode(), value.encode()) for name, value in with_cookie(**headers).items()]
        scope = {"type": "http", "method": "POST", "path": JOIN, "raw_path": JOIN.encode(), "query_string": b"",
                 "headers": raw, "http_version": "1.1", "scheme": "http", "root_path": ""}  # fmt: skip
        coming, sent = iter(parts), []

        async def receive() -> dict[str, object]:
            await asyncio.sleep(pause_s)
            part = next(coming, None)
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}

        async def keep(message: dict[str, object]) -> None:
            sent.append(message)

        await guard(scope, receive, keep)  # type: ignore[arg-type]
        return sent[0]["status"], b"".join(one.get("body", b"") for one in sent[1:])  # type: ignore[return-value,misc]

    return asyncio.run(send())


def test_a_body_without_a_length_is_counted_and_ended(guard: Guard) -> None:
    assert told(guard, [b"{}"]) == (200, b"inside")
    status, body = told(guard, [b"x" * 2**20] * 9)
    assert (status, b"over 8 MB" in body) == (413, True)


def test_a_body_that_drips_is_ended(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(allowed_routes.JSON_BODY, timeout_s=0.2)
    ways = tuple(replace(way, body=slow) if way.body is allowed_routes.JSON_BODY else way for way in ALLOWED)
    monkeypatch.setattr(allowed_routes, "ALLOWED", ways)
    status, body = told(guard, [b"x"] * 1000, pause_s=0.02)
    assert (status, b"did not arrive within 0.2 s" in body) == (408, True)


def test_websockets_are_refused(guard: Guard, key_guard: KeyGuard) -> None:
    async def connect(door: Guard | KeyGuard) -> list[dict[str, object]]:
        sent: list[dict[str, object]] = []

        async def keep(message: dict[str, object]) -> None:
            sent.append(message)

        headers = [(b"host", b"127.0.0.1:7860"), (b"cookie", f"{NAME}={SECRET}".encode())]
        await door({"type": "websocket", "path": "/", "headers": headers}, None, keep)  # type: ignore[arg-type]
        return sent

    for door in (guard, key_guard):
        assert asyncio.run(connect(door)) == [{"type": "websocket.close", "code": 1008}]


def test_refusals_speak_the_browsers_language(guard: Guard) -> None:
    assert "链接" in ask(guard, **{"accept-language": "zh-CN,zh;q=0.9"}).text
    assert "link" in ask(guard).text


def test_the_secret_is_made_once_and_private(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("home") / "session.key"
    secret = session_secret(path)
    assert len(secret) >= 43
    assert session_secret(path) == secret
    assert path.stat().st_mode & 0o077 == 0


def test_an_empty_secret_file_is_filled(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("home") / "api.key"
    path.touch()
    assert len(session_secret(path)) >= 43
    assert path.stat().st_mode & 0o077 == 0


KEY = {"authorization": f"Bearer {SECRET}"}


@pytest.fixture
def key_guard() -> KeyGuard:
    routes = [Route("/v1/models", inside, methods=["GET", "POST"])]
    return KeyGuard(Starlette(routes=routes), port=7860, key=SECRET)


@pytest.mark.parametrize("value", [f"Bearer {SECRET}", f"bearer {SECRET}", f"Bearer  {SECRET} "])
def test_the_key_opens_the_api(key_guard: KeyGuard, value: str) -> None:
    asked = {"authorization": value, "content-type": "application/json; charset=utf-8"}
    for method in ("GET", "POST"):
        assert ask(key_guard, "/v1/models", method=method, **asked).text == "inside"


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_the_api_takes_json_alone(key_guard: KeyGuard, kind: str) -> None:
    answer = ask(key_guard, "/v1/models", method="POST", content=b"{}", **KEY, **{"content-type": kind})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET}x", "Bearer s3cre"]
)
def test_without_the_right_key_the_api_answers_401_in_openais_form(key_guard: KeyGuard, value: str) -> None:
    answer = ask(key_guard, "/v1/models", authorization=value)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(key_guard, "/anything", **with_cookie()).status_code == 401


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("host", "evil.example", 421),
        ("host", "127.0.0.1", 421),
        ("host", "localhost.evil.example:7860", 421),
        ("origin", "http://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
    ],
)
def test_foreign_requests_are_refused_even_with_the_key(
    key_guard: KeyGuard, name: str, value: str, status: int
) -> None:
    answer = ask(key_guard, "/v1/models", method="POST", **KEY, **{name: value})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, "foreign_request")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/library/passage/1/2/3", "/library/page/1/2/3/4.png"])
def test_the_library_opens_with_the_cookie_alone(guard: Guard, path: str) -> None:
    assert ask(guard, path).status_code == 401
    assert ask(guard, path, **with_cookie()).status_code == 404  # nobody behind this guard has such a route


def test_files_are_dropped_with_the_cookie_alone(guard: Guard) -> None:
    own = {"content-type": "application/octet-stream", "sec-fetch-site": "same-origin"}
    assert ask(guard, FILES, method="POST", content=b"x", **own).status_code == 401
    assert ask(guard, FILES, method="POST", content=b"x", **own, **with_cookie()).text == "inside"
    assert ask(guard, FILES, **with_cookie()).status_code == 405


@pytest.mark.parametrize("path", ["/library/", "/library/passage/1/2/x", "/library/files/../../x", "/library/other"])
def test_nothing_else_below_the_library_is_open(guard: Guard, path: str) -> None:
    assert ask(guard, path, **with_cookie()).status_code == 403
