"""What is started from the user's pairs, without starting it."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.data.prepare import prepare
from core.data.tokenizer import Tokenizer
from core.errors import DataError
from core.files import write_json
from studio import Job, JobStore, improve
from studio.improve import Subject
from studio.prepare_files import Request
from tests.core.conftest import pairs


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `start` was asked for."""
    asked: dict[str, Any] = {}

    def start(store: JobStore, config: TrainConfig, **options: Any) -> None:
        asked.update(options, config=config)

    monkeypatch.setattr(improve, "start", start)
    return asked


@pytest.fixture
def subject(tokenizer: Tokenizer, tmp_path: Path) -> Subject:
    """A model folder without weights."""
    folder = tmp_path / "small"
    tokenizer.save(folder)
    write_json(folder / "config.json", {**PRESETS["tiny"].to_dict(), "hidden_size": 512})
    return Subject(folder, "int8")


ROWS = [{"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected} for pair in pairs(60, seed=5)]
LIKED = [{"messages": [*row["messages"], {"role": "assistant", "content": row["chosen"]}]} for row in ROWS]


def test_improving_is_dpo_of_an_adapter_beside_the_served_form_with_an_sft_term(
    store: JobStore, subject: Subject, started: dict[str, Any]
) -> None:
    improve.improve(store, subject, ROWS, replay=LIKED, name="n", queued=True)
    config = started["config"]
    assert (config.stage, config.adapter, config.base_quantization) == ("dpo", "lora", "int8")
    assert (config.base, config.epochs, config.sft_weight) == (str(subject.path), 3.0, 1.0)
    assert config.learning_rate == pytest.approx(5e-4)  # twice as wide as where it is 1e-3
    assert config.max_seq_len % 64 == 0
    assert started["metadata"] == {"improves": str(subject.path), "num_pairs": 60}
    assert (started["name"], started["queued"]) == ("n", True)


def test_the_files_become_pairs_a_held_out_share_and_examples(
    store: JobStore, subject: Subject, started: dict[str, Any], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    improve.improve(store, subject, ROWS, replay=LIKED * 2)
    request = Request.from_dict(started["prepare"])
    (path,) = request.paths
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert sum("rejected" in row for row in rows) == len(rows) - sum("rejected" not in row for row in rows) == 60
    report = prepare(request.paths, tmp_path / "data", tokenizer, request.config)
    assert report.num_problems == 0
    assert 3 <= report.num_validation <= 40


def test_an_unquantised_model_is_trained_as_it_is_and_a_reward_model_whole(
    store: JobStore, subject: Subject, started: dict[str, Any]
) -> None:
    improve.train_reward_model(store, Subject(subject.path, "float32"), ROWS)
    config = started["config"]
    assert (config.stage, config.adapter, config.base_quantization) == ("rm", "none", "none")
    assert started["metadata"]["judges"] == str(subject.path)
    improve.reinforce(store, subject, ROWS, reward_model=Path("/runs/rm"))
    config = started["config"]
    assert (config.stage, config.reward_model, config.adapter) == ("grpo", "/runs/rm", "lora")
    assert config.max_new_tokens < config.max_seq_len


def test_too_few_pairs_are_told_and_still_trained_on_but_none_are_not(
    store: JobStore, subject: Subject, started: dict[str, Any]
) -> None:
    assert improve.readiness("dpo", 3).num_missing == improve.ENOUGH_PAIRS["dpo"] - 3
    assert improve.readiness("rm", 500).num_missing == 0
    improve.improve(store, subject, ROWS[:3])
    assert started["metadata"]["num_pairs"] == 3
    with pytest.raises(DataError, match="No pair was accepted"):
        improve.improve(store, subject, [])


def test_only_finished_runs_that_made_an_adapter_of_the_model_are_versions(store: JobStore, tmp_path: Path) -> None:
    assert improve.versions(store, tmp_path) == []
    assert improve.reward_models(store, tmp_path) == []
    assert [job for job in store.jobs() if isinstance(job, Job)] == []


@pytest.mark.parametrize(("num_pairs", "passes"), [(1, 3), (100, 3), (150, 2), (300, 1), (5000, 1)])
def test_few_pairs_are_seen_more_often(num_pairs: int, passes: int) -> None:
    assert improve.epochs(num_pairs) == passes
