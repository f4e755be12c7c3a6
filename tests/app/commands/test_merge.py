"""Merging an adapter, from the terminal."""

from pathlib import Path

import pytest

from app.__main__ import main
from app.paths import studio_dir
from studio import Job, JobStore


def test_a_whole_model_is_not_merged_and_a_place_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["merge", str(tmp_path)]) == 1
    assert "There is no place to write the model to." in capsys.readouterr().err
    assert main(["merge", str(tmp_path), str(tmp_path / "out"), "--detach"]) == 1
    assert "has its own folder" in capsys.readouterr().err
    assert main(["merge", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "is a whole model. Give the run or folder of an adapter." in capsys.readouterr().err


def test_a_merge_is_started_as_a_job_with_its_folder_as_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []

    def start(store: JobStore, kind: str, module: str, words: tuple[str, ...], **options: object) -> Job:
        asked.extend((kind, module, words, options["metadata"]))
        return Job("m", store.root, None, None, 0, None, None, None, None, "", None, "", "m")  # type: ignore[arg-type]

    monkeypatch.setattr("studio.start_program", start)
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert main(["merge", str(tmp_path), "--detach", "--to", "gguf", "--dtype", "q8_0"]) == 0
    words = ("merge", str(tmp_path), "{run}/model.gguf", "--to", "gguf", "--dtype", "q8_0")
    assert asked == ["merge", "app", words, {"of": str(tmp_path)}]
    assert f"m has started: {studio_dir()}" in capsys.readouterr().out
