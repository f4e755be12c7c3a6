"""Which models the studio offers to the chat."""

from pathlib import Path

import pytest

from app.models import ModelHolder
from app.paths import studio_dir
from app.studio import Studio
from core.files import write_json
from studio import JobSpec, JobState
from studio.job_folder import Attempt, End, JobFolder


def finished(studio: Studio, job_id: str, kind: str, **files: object) -> Path:
    """A run that has written these files, JSON by name."""

    def fill(folder: JobFolder) -> None:
        folder.write_attempt(Attempt(1, "running", 1.0))
        folder.write_end(1, End(JobState.FINISHED, 0, 9.0))
        for name, value in files.items():
            write_json(folder.root / name.replace("__", "/"), value)

    return studio.store.add(job_id, JobSpec(kind, job_id, 1.0), fill).root


@pytest.fixture
def studio() -> Studio:
    return Studio(studio_dir())


def test_the_chat_is_offered_what_runs_have_made_and_what_their_adapters_stand_on(
    studio: Studio, tmp_path: Path
) -> None:
    base = tmp_path / "elsewhere"
    write_json(base / "config.json", {})
    whole = finished(studio, "run-sft-1", "train", **{"model__config.json": {}})
    named = {"model__adapter_config.json": {"base_model_name_or_path": str(base)}}
    adapter = finished(studio, "run-dpo-2", "train", **named)
    above = {"model__adapter_config.json": {"base_model_name_or_path": str(whole / "model")}}
    other = finished(studio, "run-dpo-3", "train", **above)
    file = finished(studio, "run-export-4", "export", **{"model.gguf": {}})
    finished(studio, "run-rm-5", "train", **{"model__config.json": {}})
    gone = {"model__adapter_config.json": {"base_model_name_or_path": str(tmp_path / "gone")}}
    orphan = finished(studio, "run-dpo-6", "train", **gone)
    assert {choice.path for choice in studio.choices()} == {whole, adapter, other, file, orphan, base}
    assert [choice.name for choice in studio.choices()][-1] == "elsewhere"


def test_a_model_in_use_is_among_the_choices_wherever_it_lies(studio: Studio, tmp_path: Path) -> None:
    holder = ModelHolder(trained=studio.choices)
    run = finished(studio, "run-sft-1", "train", **{"model__config.json": {}})
    holder.choice = studio.choice("run-sft-1", "")
    assert [choice.path for choice in holder.choices()].count(run) == 1
    (tmp_path / "old").mkdir()
    holder.choice = type(holder.choice)("old", tmp_path / "old")
    assert holder.choices()[-1].name == "old"
