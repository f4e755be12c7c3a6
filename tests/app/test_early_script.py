"""The script stands first in the page, and nothing else is touched."""

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from app.early_script import SCRIPT, EarlyScript

PAGE = "<!doctype html><html><head><title>页面</title></head><body><head></body></html>"


def client() -> TestClient:
    async def page(request: object) -> HTMLResponse:
        return HTMLResponse(PAGE)

    return TestClient(EarlyScript(Starlette(routes=[Route("/", page), Route("/other", page)])))


def test_the_script_comes_before_everything_of_the_page() -> None:
    answer = client().get("/", headers={"accept-encoding": "gzip"})
    script = SCRIPT.read_text(encoding="utf-8")
    assert answer.text == PAGE.replace("<head>", f"<head><script>{script}</script>", 1)
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_other_answers_pass_as_they_are() -> None:
    assert client().get("/other").text == PAGE
    assert client().post("/").status_code == 405
