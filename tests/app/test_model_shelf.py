"""The models of this machine: their facts, their names, the trash and the way back."""

import shutil
from pathlib import Path

import pytest

from app.catalogue import BY_NAME, CATALOGUE, FIRST
from app.machine_speed import MachineSpeed, keep_speed, known_speed
from app.model_facts import facts_of
from app.model_shelf import ModelShelf, Origin, estimate
from app.models import ModelHolder
from app.paths import models_dir, starter_dir
from core.errors import ConfigError, ModelError
from core.files import write_json
from core.hub.places import DownloadRecord, FileRecord, HubName, check_revision

SPEED = MachineSpeed(read_gb_per_s=35.4, fp32_gflop_per_s=159.0, measured_at=0.0, num_cores=2)
PARAMETERS = {
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "ViperEkura/AstrAI-V1-instruct": 1_203_807_744,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
}


@pytest.fixture
def shelf() -> ModelShelf:
    """The starter, and a copy of it as a model of the user's."""
    shutil.copytree(starter_dir(), models_dir() / "mine")
    return ModelShelf(ModelHolder())


def mine(shelf: ModelShelf) -> Path:
    return next(model.path for model in shelf.all(None) if model.origin != Origin.STARTER)


def test_the_shapes_of_the_catalogue_have_the_parameters_that_their_cards_state() -> None:
    assert {offer.name: offer.config.num_parameters for offer in CATALOGUE} == PARAMETERS
    assert set(FIRST) <= set(BY_NAME)
    for offer in CATALOGUE:
        HubName.parse(offer.name)
        check_revision(offer.revision or "main")
        assert offer.revision is None or len(offer.revision) == 40


def test_a_model_is_shown_with_its_facts_and_what_it_needs(shelf: ModelShelf) -> None:
    starter, copy = shelf.all(SPEED)
    assert (starter.origin, copy.origin) == (Origin.STARTER, Origin.ADDED)
    assert starter.facts is not None
    assert starter.estimate is not None
    assert (starter.facts.config.num_parameters, starter.facts.quantization) == (6_524_160, "int8")
    assert starter.licence == "cc-by-sa-4.0"
    assert starter.estimate.tokens_per_s == pytest.approx(1480, rel=0.1)
    assert (starter.can_be_deleted, copy.can_be_deleted) == (False, True)


def test_without_a_measurement_no_speed_is_claimed(shelf: ModelShelf) -> None:
    (model, _) = shelf.all(None)
    assert model.estimate is not None
    assert model.estimate.tokens_per_s is None


def test_a_model_that_cannot_be_read_says_why(shelf: ModelShelf) -> None:
    (mine(shelf) / "config.json").write_text('{"model_type": "mamba"}', encoding="utf-8")
    broken = shelf.all(None)[1]
    assert broken.facts is None
    assert "model_type 'mamba' is not supported" in broken.problem


def test_a_deleted_model_can_be_put_back_until_the_trash_is_emptied(shelf: ModelShelf) -> None:
    path = mine(shelf)
    content = (path / "model.safetensors").read_bytes()
    trashed = shelf.delete(str(path))
    assert not path.exists()
    assert [(one.name, one.num_bytes > 6_000_000) for one in shelf.trash()] == [("mine", True)]
    assert shelf.put_back(trashed.id) == path
    assert (path / "model.safetensors").read_bytes() == content
    assert shelf.trash() == []
    again = shelf.delete(str(path))
    shutil.copytree(starter_dir(), path)
    with pytest.raises(ModelError, match="another mine in the models folder"):
        shelf.put_back(again.id)
    assert shelf.empty_trash() > 6_000_000
    with pytest.raises(ModelError, match="not in the trash any more"):
        shelf.put_back(again.id)


def test_what_is_not_the_users_is_not_deleted(shelf: ModelShelf, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not in the models folder"):
        shelf.delete(str(starter_dir()))
    with pytest.raises(ModelError, match="none of the models here"):
        shelf.delete(str(tmp_path))
    assert starter_dir().exists()


def test_a_name_is_given_kept_and_taken_back(shelf: ModelShelf) -> None:
    path = mine(shelf)
    shelf.rename(str(path), "  My  工作 model ")
    assert [model.name for model in ModelShelf(ModelHolder()).all(None)] == ["starter", "My 工作 model"]
    with pytest.raises(ConfigError, match="at most 80 characters"):
        shelf.rename(str(path), "x" * 81)
    shelf.rename(str(path), "")
    write_json(path / "download.json", DownloadRecord("a/b", None, "0" * 40, {"x": FileRecord(1, "")}).to_dict())
    assert [model.name for model in shelf.all(None)] == ["starter", "a/b"]


def test_the_speed_is_kept_and_not_believed_on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_speed() is None
    keep_speed({"read_gb_per_s": 20.0, "fp32_gflop_per_s": 100.0, "bf16_gflop_per_s": 1.0})
    speed = known_speed()
    assert speed is not None
    assert speed.read_gb_per_s == 20.0
    monkeypatch.setattr("psutil.cpu_count", lambda: 96)
    assert known_speed() is None


def test_the_estimate_of_an_offer_needs_no_file() -> None:
    guess = estimate(BY_NAME["Qwen/Qwen2.5-1.5B-Instruct"].config, None, SPEED)
    assert guess.quantization == "int4"
    assert guess.tokens_per_s is not None
    assert 30 < guess.tokens_per_s < 50


def test_a_gguf_file_says_its_type(tmp_path: Path) -> None:
    import core

    path = core.export(starter_dir(), tmp_path / "starter.gguf", to="gguf")
    facts = facts_of(path)
    assert facts.config.num_parameters == 6_524_160
    assert facts.quantization == "F16"
