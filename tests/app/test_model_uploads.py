"""Model files that the browser sends: written as they come, taken over once they are checked, else gone."""

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.adding import Adding
from app.model_routes import model_routes
from app.model_uploads import FOLDER, ModelUploads
from app.paths import models_dir, starter_dir
from core.errors import DataError
from core.folders import data_dir

BATCH = "abcdefgh"


@pytest.fixture
def uploads() -> ModelUploads:
    return ModelUploads(data_dir())


@pytest.fixture
def client(uploads: ModelUploads) -> TestClient:
    app = FastAPI()
    app.include_router(model_routes(uploads))
    return TestClient(app)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_folder_is_sent_file_by_file_and_moved_into_the_models_folder(
    client: TestClient, uploads: ModelUploads
) -> None:
    for path in starter_dir().iterdir():
        if path.suffix in (".json", ".safetensors"):
            name = f"mine/{path.name}"
            assert client.post(f"/models/files/{BATCH}?name={name}", content=path.read_bytes()).status_code == 200
    source, folder = uploads.source(BATCH)
    adding = Adding()
    adding.begin(source, upload=folder)
    adding.wait()
    assert adding.state is not None
    assert (adding.state.error, adding.state.path) == (None, str(models_dir() / "mine"))
    weights = "model.safetensors"
    assert (models_dir() / "mine" / weights).read_bytes() == (starter_dir() / weights).read_bytes()
    assert list((data_dir() / FOLDER).iterdir()) == []


@pytest.mark.parametrize("name", ["model.zip", "../x.gguf", "weights.bin", "a.py"])
def test_what_is_no_model_file_is_refused_in_the_pages_language(client: TestClient, name: str) -> None:
    answer = client.post(f"/models/files/{BATCH}", params={"name": name, "language": "zh"}, content=b"x")
    assert answer.status_code == 400
    assert "请" in answer.json()["error"]
    assert not (data_dir() / FOLDER).exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_broken_file_is_refused_and_nothing_of_it_is_left(client: TestClient, uploads: ModelUploads) -> None:
    client.post(f"/models/files/{BATCH}?name=evil.gguf", content=b"GGUF" + b"\xff" * 400)
    source, folder = uploads.source(BATCH)
    adding = Adding()
    adding.begin(source, upload=folder)
    adding.wait()
    assert adding.state is not None
    assert adding.state.error
    assert (folder.exists(), list(models_dir().iterdir())) == (False, [])


def test_one_that_does_not_fit_the_disk_is_refused_and_the_next_start_forgets_all(
    client: TestClient, uploads: ModelUploads
) -> None:
    answer = client.post(f"/models/files/{BATCH}?name=x.gguf", content=b"", headers={"content-length": str(10**18)})
    assert (answer.status_code, "are free on this disk" in answer.json()["error"]) == (400, True)
    client.post(f"/models/files/{BATCH}?name=x.gguf", content=b"x")
    ModelUploads(data_dir())
    with pytest.raises(DataError, match="No file of this drop arrived"):
        uploads.source(BATCH)
