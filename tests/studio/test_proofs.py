"""Proofs hold for the trainer as it is, and a bug that trainers have had turns the right check red."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.error_texts import sentence_text
from app.figure_texts import FIGURE_TEXTS
from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.errors import unpacked
from core.trainer import train
from studio import JobState, JobStore, preflight, proof, resume_proof, start_program
from studio.proofs import prove
from tests.core.conftest import pairs, sentences, write_chats, write_pairs, write_texts
from tests.studio.conftest import wait_for
from tests.studio.forked_programs import ForkedPrograms

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("pt", "sft", "dpo")
MOSTLY_LONG = [pytest.param(stage, marks=[pytest.mark.long] if stage != "pt" else []) for stage in STAGES]
RESUME_BUGS = {
    "random_state_not_saved": {"random_numbers", "random_states"},
    "random_state_not_restored": {"random_numbers", "random_states"},
    "optimizer_state_not_saved": {"metrics", "optimizer", "weights"},
    "sampler_off_by_one_after_resume": {"data_order", "metrics", "optimizer", "weights"},
    "schedule_restarted": {"metrics", "optimizer", "weights"},
}
PREFLIGHT_BUGS = {
    "mean_of_means": {"micro_batches", "packing"},
    "gradient_not_averaged_over_ranks": {"ranks"},
    "ranks_divide_by_their_own_tokens": {"ranks"},
    "documents_see_each_other": {"packing"},
}
SEED = 7

Configs = dict[str, TrainConfig]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Configs:
    """Tiny runs of three stages."""
    folder = tmp_path_factory.mktemp("runs")
    tokenizer = Tokenizer.train(sentences(400, seed=0), vocab_size=420)
    write_texts(folder / "pt", tokenizer)
    write_chats(folder / "sft", tokenizer)
    write_pairs(folder / "dpo", tokenizer, pairs(48, seed=5))
    options = {
        "preset": "tiny", "micro_batch_size": 2, "global_batch_size": 8, "max_steps": 100, "precision": "fp32",
        "device": "cpu", "num_threads": 1, "output": str(folder / "never written"),
    }  # fmt: skip
    fresh = {**options, "data": str(folder / "pt"), "max_seq_len": 32}
    base = train(TrainConfig.from_dict({**fresh, "output": str(folder / "base"), "max_steps": 2}))
    options["base"] = str(base)
    runs = {
        "pt": fresh,
        "sft": {**options, "stage": "sft", "data": str(folder / "sft"), "max_seq_len": 192},
        "dpo": {**options, "stage": "dpo", "data": str(folder / "dpo"), "max_seq_len": 96},
    }
    return {name: TrainConfig.from_dict(values) for name, values in runs.items()}


class Prover:
    """Makes proofs whose programs are forked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch, self.folder = monkeypatch, folder
        self.rows: list[Any] = []

    def __call__(self, kind: str, config: TrainConfig, *, bug: str = "", nproc: int = 1) -> dict[str, Any]:
        programs = ForkedPrograms(bug)
        self._monkeypatch.setattr(proof, "run_module", programs)
        self._monkeypatch.setattr(resume_proof, "run_module", programs)
        prove(kind, config, self.folder, seed=SEED, nproc=nproc, report=self.rows.append)
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        assert not (self.folder / "work").exists()
        return result


@pytest.fixture
def prover(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Prover:
    return Prover(monkeypatch, tmp_path / "proof")


def failed(result: dict[str, Any]) -> set[str]:
    """Names of the checks that do not hold."""
    names = {check["name"] for check in result["checks"] if check["passed"] is False}
    assert result["verdict"] == {
        "holds": not names,
        "failed": result["verdict"]["failed"],
        "num_checks": len(result["checks"]),
    }
    assert set(result["verdict"]["failed"]) == names
    given = {figure for check in result["checks"] for figure in check["figures"]} - {"reason", "error"}
    assert {f"figure_{figure}" for figure in given} <= FIGURE_TEXTS.keys()
    return names


def figures(result: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(check["figures"] for check in result["checks"] if check["name"] == name)
    return found


def cause(result: dict[str, Any], name: str) -> str:
    """Why a check's program failed, which the page can say in Chinese."""
    sentence, remedy = unpacked(figures(result, name)["error"])
    assert sentence_text(sentence, "zh") != sentence
    assert sentence_text(remedy, "zh") != remedy
    return str(sentence)


@pytest.mark.slow
def test_a_run_is_proven_to_resume(prover: Prover, configs: Configs) -> None:
    result = prover("resume", configs["pt"])
    assert [(check["name"], check["passed"]) for check in result["checks"]] == [
        (name, True)
        for name in (
            *("killed", "repeatable", "data_order", "random_numbers", "metrics"),
            *("weights", "optimizer", "random_states"),
        )
    ]
    killed = figures(result, "killed")
    assert killed["saved_at"] < killed["killed_at"] < killed["num_steps"] == 12
    assert figures(result, "weights")["uninterrupted"] == figures(result, "weights")["resumed"]
    assert [row["step"] for row in prover.rows] == list(range(1, prover.rows[-1]["num_steps"] + 1))


@pytest.mark.parametrize("stage", ["sft", "dpo"])
@pytest.mark.slow
def test_a_run_of_another_stage_is_proven_to_resume(prover: Prover, configs: Configs, stage: str) -> None:
    result = prover("resume", configs[stage])
    assert failed(result) == set()
    assert [check["passed"] for check in result["checks"]] == [True] * 8


@pytest.mark.parametrize("stage", MOSTLY_LONG)
@pytest.mark.parametrize("bug", RESUME_BUGS)
@pytest.mark.slow
def test_a_resume_with_a_bug_is_not_proven(prover: Prover, configs: Configs, stage: str, bug: str) -> None:
    assert failed(prover("resume", configs[stage], bug=bug)) == RESUME_BUGS[bug]


@pytest.mark.slow
def test_a_run_of_two_ranks_is_proven_to_resume(prover: Prover, configs: Configs) -> None:
    result = prover("resume", configs["pt"], nproc=2)
    assert failed(result) == set()
    assert figures(result, "data_order")["count"] == 24


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.slow
def test_a_preflight_holds(prover: Prover, configs: Configs, stage: str) -> None:
    result = prover("preflight", configs[stage])
    assert failed(result) == set()
    assert [check["passed"] for check in result["checks"]] == [True] * 7
    differences = [check["figures"].get("gradient_difference", 0) for check in result["checks"]]
    assert max(differences) < preflight.GRADIENT_TOLERANCE / 10
    assert [row["step"] for row in prover.rows] == list(range(1, prover.rows[-1]["num_steps"] + 1))


@pytest.mark.parametrize("stage", MOSTLY_LONG)
@pytest.mark.parametrize("bug", PREFLIGHT_BUGS)
@pytest.mark.slow
def test_a_preflight_finds_a_bug(prover: Prover, configs: Configs, stage: str, bug: str) -> None:
    assert failed(prover("preflight", configs[stage], bug=bug)) == PREFLIGHT_BUGS[bug]


@pytest.mark.slow
def test_packing_is_not_tested_where_no_row_holds_two_documents(prover: Prover, configs: Configs) -> None:
    config = TrainConfig.from_dict({**configs["sft"].to_dict(), "max_seq_len": 48})
    result = prover("preflight", config, bug="documents_see_each_other")
    assert failed(result) == set()
    assert figures(result, "packing") == {"reason": "nothing_is_packed"}


@pytest.mark.slow
def test_a_loss_that_is_nothing_by_construction_is_compared(prover: Prover, configs: Configs, tmp_path: Path) -> None:
    pairs = {**configs["dpo"].to_dict(), "global_batch_size": 4}
    rewarded = train(TrainConfig.from_dict({**pairs, "stage": "rm", "output": str(tmp_path / "rm"), "max_steps": 1}))
    rollouts = {"stage": "grpo", "reward_model": str(rewarded), "max_new_tokens": 8, "num_generations": 3}
    result = prover("preflight", TrainConfig.from_dict({**pairs, **rollouts}))
    assert failed(result) == set()
    assert figures(result, "packing") == {"reason": "not_in_this_stage"}


@pytest.mark.slow
def test_a_reference_that_is_not_the_base_is_found(prover: Prover, configs: Configs) -> None:
    assert failed(prover("preflight", configs["dpo"], bug="reference_is_another_model")) == {"first_loss"}


@pytest.mark.slow
def test_numbers_that_run_over_are_found(prover: Prover, configs: Configs) -> None:
    config = TrainConfig.from_dict({**configs["pt"].to_dict(), "learning_rate": 1e30})
    result = prover("preflight", config)
    assert failed(result) == {"finite"}
    assert "gradient's norm nan" in cause(result, "finite")


@pytest.mark.slow
def test_a_run_that_does_not_begin_is_not_proven_and_says_why(prover: Prover, configs: Configs) -> None:
    config = TrainConfig.from_dict({**configs["pt"].to_dict(), "data": str(prover.folder / "nowhere")})
    for kind in ("resume", "preflight"):
        result = prover(kind, config)
        assert failed(result) == {"ran"}
        assert "nowhere" in cause(result, "ran")


def test_tensors_are_hashed_by_type_shape_and_bytes(tmp_path: Path) -> None:
    def hashes(**tensors: torch.Tensor) -> dict[str, str]:
        save_file(tensors, tmp_path / "file.safetensors")
        return resume_proof.tensor_hashes(tmp_path / "file.safetensors")

    ones = torch.ones(2, 3)
    first = hashes(a=ones, b=ones.clone(), c=ones.bfloat16())
    assert first["a"] == first["b"] != first["c"]
    assert first == hashes(a=ones, b=ones.clone(), c=ones.bfloat16())
    assert first["a"] != hashes(a=ones.T.contiguous())["a"]
    assert first["a"] != hashes(a=ones * (1 + 2**-23))["a"]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["resume", "preflight"])
@pytest.mark.slow
def test_a_proof_is_a_program(configs: Configs, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(configs["sft"].to_dict()))
    command = [sys.executable, "-m", "studio.proofs", kind, str(path), "--output", str(tmp_path / "proof")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *rows, last = map(json.loads, done.stdout.splitlines())
    assert [row["step"] for row in rows] == list(range(1, rows[0]["num_steps"] + 1))
    assert last == {"verdict": json.loads((tmp_path / "proof/result.json").read_text())["verdict"]}
    assert last["verdict"]["holds"] is True


@pytest.mark.slow
@pytest.mark.long
def test_a_proof_is_a_job_of_the_studio(store: JobStore, configs: Configs, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(configs["pt"].to_dict()))
    job = start_program(store, "preflight", "studio.proofs", ("preflight", str(path), "--output", "{run}"))
    done = wait_for(lambda: (now := store.job(job.id)).state.is_ended and now, timeout_s=300)
    assert done.state is JobState.FINISHED, store.log_tail(job.id)
    assert (done.step, done.num_steps) == (6, 6)
    assert json.loads((job.folder / "result.json").read_text())["verdict"]["holds"] is True


def test_a_config_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"stage": "ptt"}')
    command = [sys.executable, "-m", "studio.proofs", "resume", str(path), "--output", str(tmp_path / "proof")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "stage is 'ptt'" in done.stderr
    assert "Traceback" not in done.stderr
