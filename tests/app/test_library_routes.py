"""What the page asks of the library beside Gradio: passages, pictures of pages, dropped files."""

import io
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from app.library import Library
from app.library_routes import library_routes
from tests.rag.conftest import HashEmbedder
from tests.rag.parsing.pdf_maker import PdfPage, Text, make_pdf

HOSTILE = "# <script>alert(1)</script>\n\nThe lease ends <img src=x onerror=alert(1)> in March.\n"
WHITE = (255, 255, 255)
SENTENCE = "The rent is 900 euros a month and the lease ends in March."


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("files")
    (folder / "hostile.md").write_text(HOSTILE, encoding="utf-8")
    page = PdfPage(
        [Text(60, 700, "Terms of the flat in Hamburg", 18), Text(60, 640, SENTENCE), Text(60, 600, "Nothing.")]
    )
    (folder / "lease.pdf").write_bytes(make_pdf(page))
    library = Library(folder / "library", embedder=HashEmbedder)
    library.add([folder / "hostile.md", folder / "lease.pdf"], "home")
    assert library.wait(timeout_s=60)
    return library


@pytest.fixture
def client(library: Library) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(library_routes(library))
    with TestClient(app) as client:
        yield client


def address_of(library: Library, name: str, words: str) -> str:
    """Where words of a document stand, as the routes name it."""
    kb = library.open()
    document = next(row for row in kb.documents() if row.path.name == name)
    start = kb.text(document.id).index(words)
    return f"{document.id}/{start}/{start + len(words)}"


def test_a_passage_of_a_text_is_marked_and_escaped(client: TestClient, library: Library) -> None:
    response = client.get(f"/library/passage/{address_of(library, 'hostile.md', 'in March')}")
    assert response.status_code == 200
    assert '<mark id="passage">in March</mark>' in response.text
    assert "<script" not in response.text
    assert "<img" not in response.text


def test_a_passage_of_a_pdf_shows_its_page_with_a_box(client: TestClient, library: Library) -> None:
    place = address_of(library, "lease.pdf", SENTENCE)
    response = client.get(f"/library/passage/{place}", params={"language": "zh"})
    assert "第 1 页" in response.text
    assert f'src="/library/page/{place}/1.png"' in response.text
    picture = client.get(f"/library/page/{place}/1.png")
    assert picture.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(picture.content)).convert("RGB")
    assert image.size == (1200, 1600)
    assert WHITE not in colours(image, baseline=640)
    assert WHITE in colours(image, baseline=600)


def colours(image: Image.Image, *, baseline: int) -> set[object]:
    """The colours of the beginning of a line, whose pixels are half a point."""
    strip = image.crop((124, 2 * (800 - baseline) - 12, 200, 2 * (800 - baseline) - 2))
    return {colour for _, colour in strip.getcolors(10_000) or []}


@pytest.mark.parametrize("place", ["999/0/5", "1/5/5", "1/0/99999999"])
def test_a_passage_that_is_not_there_is_a_sentence(client: TestClient, place: str) -> None:
    response = client.get(f"/library/passage/{place}")
    assert response.status_code == 404
    assert '<p class="error">' in response.text


def test_a_page_that_is_not_there_has_no_picture(client: TestClient, library: Library) -> None:
    assert client.get(f"/library/page/{address_of(library, 'lease.pdf', SENTENCE)}/7.png").status_code == 404
    assert client.get(f"/library/page/{address_of(library, 'hostile.md', 'in March')}/1.png").status_code == 404


def test_a_dropped_file_is_received_once(client: TestClient) -> None:
    query = {"name": "ordner/notiz 笔记.md", "collection": "new"}
    for batch, is_new in (("batch00001", True), ("batch00001", False)):
        response = client.post(f"/library/files/{batch}", params=query, content=b"Some words of mine.")
        assert response.json() == {"is_new": is_new}


def test_a_bad_name_is_refused_in_words(client: TestClient) -> None:
    response = client.post("/library/files/batch00002", params={"name": "../x.md", "collection": "new"}, content=b"x")
    assert response.status_code == 400
    assert "is no name for a file" in response.json()["error"]


def test_a_file_that_is_too_large_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.dropped_files.MAX_COPIED_BYTES", 10)
    query = {"name": "x.md", "collection": "new"}
    response = client.post("/library/files/batch00003", params=query, content=b"x" * 100)
    assert response.status_code == 400
