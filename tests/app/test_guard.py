"""The door: exact Host, own Origin, one-time login, cookie; and headers on every answer."""

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.guard import Guard, KeyGuard, session_secret

BASE = "http://127.0.0.1:7860"
SECRET = "s3cret"
COOKIE = {"astrai_7860": SECRET}


async def inside(request: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


def make_guard() -> Guard:
    paths = ["/", "/health", "/config", "/assets/{rest:path}", "/gradio_api/{rest:path}"]
    routes = [Route(path, inside, methods=["GET", "POST"]) for path in paths]
    return Guard(Starlette(routes=routes), port=7860, secret=SECRET)


@pytest.fixture
def guard() -> Guard:
    return make_guard()


def ask(guard: Guard | KeyGuard, path: str = "/", *, method: str = "GET", **headers: str) -> httpx.Response:
    import asyncio

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url=BASE) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def with_cookie(**headers: str) -> dict[str, str]:
    return {"cookie": f"astrai_7860={SECRET}", **headers}


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
    for method in ("GET", "POST"):
        assert ask(guard, method=method, **with_cookie(origin=origin)).status_code == 403


@pytest.mark.parametrize(
    ("site", "status"), [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)]
)
def test_posts_come_from_the_page_itself(guard: Guard, site: str, status: int) -> None:
    assert ask(guard, method="POST", **with_cookie(**{"sec-fetch-site": site})).status_code == status


def test_without_the_cookie_only_health_answers(guard: Guard) -> None:
    assert ask(guard, "/health").text == "inside"
    for path in ("/", "/config", "/gradio_api/queue/data", "/assets/index.js"):
        assert ask(guard, path).status_code == 401
    assert ask(guard, cookie="astrai_7860=wrong").status_code == 401
    assert ask(guard, cookie=f"astrai_7861={SECRET}").status_code == 401


def test_the_login_link_works_once_and_gives_a_strict_cookie(guard: Guard) -> None:
    answer = ask(guard, guard.login_path)
    assert answer.status_code == 200
    assert re.search(r'http-equiv="refresh" content="0;url=/"', answer.text)
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("astrai_7860=", "httponly", "samesite=strict", "path=/"))
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
    "others", ["a@b=1", "a/b=1", 'foo={"a":1,"b":2}', "a=b c", 'foo="bar', "path=/", "secure", "", "astrai_7860=wrong"]
)
def test_cookies_of_other_programs_of_this_machine_lock_nobody_out(guard: Guard, others: str) -> None:
    for cookie in (f"{others}; astrai_7860={SECRET}", f"astrai_7860={SECRET}; {others}"):
        assert ask(guard, cookie=cookie).text == "inside"


def test_every_answer_carries_the_policy(guard: Guard) -> None:
    for answer in (ask(guard, **with_cookie()), ask(guard), ask(guard, host="evil.example")):
        policy = answer.headers["content-security-policy"]
        assert "connect-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?:|\*", policy)
        assert answer.headers["x-content-type-options"] == "nosniff"


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
    for method in ("GET", "POST"):
        assert ask(key_guard, "/v1/models", method=method, authorization=value).text == "inside"


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


@pytest.mark.parametrize("path", ["/library/passage/1/2/3", "/library/page/1/2/3/4.png", "/library/files/batch00001"])
def test_the_library_opens_with_the_cookie_alone(guard: Guard, path: str) -> None:
    assert ask(guard, path).status_code == 401
    assert ask(guard, path, **with_cookie()).status_code == 404  # nobody behind this guard has such a route


@pytest.mark.parametrize("path", ["/library/", "/library/passage/1/2/x", "/library/files/../../x", "/library/other"])
def test_nothing_else_below_the_library_is_open(guard: Guard, path: str) -> None:
    assert ask(guard, path, **with_cookie()).status_code == 403
