"""What the page asks of the studio beside Gradio: lists, details, figures, answers of checkpoints, dropped files."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.studio import Studio
from app.studio_routes import studio_routes
from core.errors import AssistantError, DataError, ModelError, TrainingError
from core.files import write_json
from studio.job_folder import Attempt, End, JobFolder, JobSpec, JobState

RUN = "20261126-084512-sft-a1b2"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    """A studio with one run that was stopped."""
    made = Studio(tmp_path / "studio")
    folder = JobFolder(made.store.runs / RUN)
    folder.job.mkdir(parents=True)
    write_json(folder.spec, asdict(JobSpec("train", HOSTILE, 1e9)))
    write_json(folder.config, {"stage": "sft", "base": HOSTILE})
    folder.write_attempt(Attempt(1, "running", 1e9))
    folder.write_end(1, End(JobState.STOPPED, 0, 1e9 + 9, seconds=9.0, step=2, num_steps=4))
    rows = [{"attempt": 1, "step": step, "loss": 3.0 - step, "tokens_per_s": 10.0} for step in (1, 2)]
    (folder.root / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    (folder.root / "samples.jsonl").write_text(
        json.dumps({"step": 2, "prompt": "a", "text": HOSTILE}), encoding="utf-8"
    )
    folder.stderr.write_text(HOSTILE, encoding="utf-8")
    return made


@pytest.fixture
def client(studio: Studio) -> Iterator[TestClient]:
    app = FastAPI()
    app.include_router(studio_routes(studio))
    with TestClient(app) as client:
        yield client


def test_the_list_and_the_details_are_escaped_html(client: TestClient) -> None:
    runs = client.get("/studio/runs", params={"language": "en"})
    assert "stopped" in runs.text
    details = client.get(f"/studio/runs/{RUN}", params={"language": "zh"}).json()
    assert "已停止" in details["head"]
    assert "1.000" in details["facts"]
    assert {"log", "samples", "settings"} <= {slot for slot, page in details.items() if page}
    assert "<script" not in runs.text + "".join(details.values())


def test_metrics_come_whole_and_then_as_rows(client: TestClient) -> None:
    first = client.get(f"/studio/runs/{RUN}/metrics?from=0").json()
    assert first["series"]["loss"] == [[1, 2], [2.0, 1.0]]
    assert client.get(f"/studio/runs/{RUN}/metrics?from={first['offset']}").json()["rows"] == []
    assert "series" in client.get(f"/studio/runs/{RUN}/metrics?from=nonsense").json()


@pytest.mark.parametrize("path", ["nothing", "nothing/metrics", "nothing/answers", "..%2F..%2Fetc"])
def test_a_run_that_is_not_there_is_a_sentence(client: TestClient, path: str) -> None:
    response = client.get(f"/studio/runs/{path}")
    assert response.status_code == 404


def test_dropped_files_are_kept_and_bad_names_refused(client: TestClient, studio: Studio) -> None:
    sent = client.post("/studio/files/batch00001", params={"name": "a/b.jsonl"}, content=b"{}")
    assert sent.json() == {"is_new": True}
    assert (studio.dropped("batch00001") / "a" / "b.jsonl").read_bytes() == b"{}"
    assert client.post("/studio/files/batch00001", params={"name": "../x"}, content=b"").status_code == 400
    with pytest.raises(TrainingError, match="arrived"):
        studio.dropped("batch00002")
    with pytest.raises(DataError):
        studio.dropped("../..")


def test_notes_names_and_the_trash(studio: Studio) -> None:
    studio.act(RUN, "note", "learns slowly")
    studio.act(RUN, "rename", "  My   run ")
    assert (studio.job(RUN).note, studio.job(RUN).name) == ("learns slowly", "My run")
    studio.act(RUN, "nonsense")
    studio.act(RUN, "delete")
    with pytest.raises(AssistantError):
        studio.job(RUN)


def test_what_cannot_be_done_is_a_sentence(studio: Studio) -> None:
    with pytest.raises(TrainingError, match="not running"):
        studio.act(RUN, "stop")
    with pytest.raises(ModelError, match="none of the models"):
        studio.model("/etc")
