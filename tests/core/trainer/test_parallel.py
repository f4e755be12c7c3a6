"""Two ranks compute what one does, and a run of two resumes to what it would have been."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from core.config.train_config import TrainConfig
from core.errors import ConfigError
from core.model.checkpoint import find_model, load_model
from core.model.shards import open_shards
from core.model.weight_files import weights_hash
from core.parallel.setup import Ranks
from core.trainer import train
from core.trainer.build_context import build_context
from core.trainer.run_folder import OPTIMIZER, RunFolder, read_metrics
from tests.core.parallel.job import launch
from tests.core.trainer.rank_program import KILLED_AFTER, runs, step_in_double

PROGRAM = "tests.core.trainer.rank_program"
KINDS = ("ddp", "fsdp")
SPREAD = [(case, kind) for case in ("pt", "pt-tied", "sft", "rm", "kto") for kind in KINDS] + [
    ("grpo", "ddp"),
    ("ppo", "ddp"),
]

# Processes start slowly on a machine that has other work.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the ranks have it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def options(text_data: Path) -> dict[str, Any]:
    return {
        "data": str(text_data),
        "preset": "tiny",
        "max_seq_len": 32,
        "micro_batch_size": 2,
        "global_batch_size": 8,
        "max_steps": 8,
        "max_grad_norm": 0.0,
        "precision": "fp32",
        "device": "cpu",
        "num_threads": 1,
        "log_interval": 1,
        "validation_interval": 4,
        "validation_tokens": 4 * 32,  # rows that two ranks share evenly
    }


@pytest.fixture(scope="module")
def cases(
    options: dict[str, Any], chat_data: Path, pair_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """Options of one step each, without the way it is spread."""
    folder = tmp_path_factory.mktemp("base")
    base = train(TrainConfig.from_dict({**options, "output": str(folder / "run"), "max_steps": 1}))
    options = {**options, "output": str(folder / "never written")}
    chat = {"stage": "sft", "data": str(chat_data), "base": str(base), "max_seq_len": 64}
    pairs = {"data": str(pair_data), "base": str(base), "max_seq_len": 96}
    reward = {**options, **pairs, "stage": "rm", "output": str(folder / "reward"), "max_steps": 1}
    rollouts = {"reward_model": str(train(TrainConfig.from_dict(reward))), "max_new_tokens": 8, "num_generations": 3}
    return {
        "pt": {**options, "model": {"tie_word_embeddings": False}},
        "pt-tied": options,
        "sft": {**options, **chat},
        "rm": {**options, **pairs, "stage": "rm"},
        "kto": {**options, **pairs, "stage": "dpo", "loss": "kto"},
        "grpo": {**options, **pairs, **rollouts, "stage": "grpo"},
        "ppo": {**options, **pairs, **rollouts, "stage": "ppo"},
    }


@pytest.fixture(scope="module")
def computed(cases: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two ranks left their gradients and figures in."""
    folder = tmp_path_factory.mktemp("computed")
    spread = {f"{name}-{kind}": {**cases[name], "parallel": kind} for name, kind in SPREAD}
    (folder / "cases.json").write_text(json.dumps(spread))
    result = launch(2, PROGRAM, str(folder), "gradients")
    assert result.returncode == 0, result.stderr
    return folder


def facts(computed: Path, rank: int) -> Any:
    return json.loads((computed / f"rank-{rank}.json").read_text())


@pytest.mark.parametrize(("case", "kind"), SPREAD)
@pytest.mark.slow
def test_two_ranks_have_the_loss_and_every_gradient_of_one(
    computed: Path, cases: dict[str, dict[str, Any]], case: str, kind: str
) -> None:
    alone, expected = step_in_double(TrainConfig.from_dict(cases[case]), Ranks.alone())
    found = load_file(computed / f"{case}-{kind}.safetensors")
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float64
        assert float((found[name] - gradient).norm() / gradient.norm()) < 1e-9, name
    for rank in range(2):
        figures = facts(computed, rank)["figures"][f"{case}-{kind}"]
        assert figures["loss"] == pytest.approx(alone.loss, rel=1e-9)
        assert figures["grad_norm"] == pytest.approx(alone.grad_norm, rel=1e-9)
        assert figures["num_tokens"] == alone.num_tokens


def test_ranks_that_learn_from_unequal_counts_of_tokens_are_in_the_test(cases: dict[str, dict[str, Any]]) -> None:
    context = build_context(TrainConfig.from_dict(cases["sft"]), resume=False)
    places = context.sampler.step_rows(0)
    counts = [context.train_rows.batch(Ranks(rank, 2).share(places)).num_loss_tokens for rank in range(2)]
    assert counts[0] != counts[1]


@pytest.mark.slow
def test_gradients_cross_ranks_in_the_last_micro_batch_alone(computed: Path) -> None:
    assert facts(computed, 0)["sync"] == {"ddp 0": False, "ddp 1": True, "fsdp 0": False, "fsdp 1": True}


@pytest.mark.slow
def test_bf16_is_gathered_and_fp32_is_kept(computed: Path) -> None:
    found = facts(computed, 0)["bf16"]
    assert found["seen"] == ["torch.float32", "torch.float32", "torch.bfloat16", "torch.float32"]
    assert found["losses"]["bf16"] == pytest.approx(found["losses"]["fp32"], rel=0.01)
    assert found["losses"]["bf16"] != found["losses"]["fp32"]


@pytest.mark.slow
def test_ranks_tell_each_other_sums_claims_and_problems(computed: Path) -> None:
    for rank, share in enumerate(([1, 2, 3], [4, 5, 6])):
        assert facts(computed, rank)["ranks"] == {
            "sum": [3.0, 30.0],
            "total": 3,
            "any": [True, False],
            "first": 1,
            "gather": [[1, 1], [2, 2]],
            "share": share,
            "problem": ["盘满 é", None],
        }


@pytest.fixture(scope="module")
def resumed(options: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two ranks: uninterrupted, killed and resumed, and begun on one rank."""
    folder = tmp_path_factory.mktemp("runs")

    def run(name: str, kind: str, optimizer: str = "adamw") -> dict[str, Any]:
        return {**options, "output": str(folder / name), "parallel": kind, "optimizer": optimizer}

    whole = [[run("whole-ddp", "ddp", "muon"), False, None], [run("whole-fsdp", "fsdp"), False, None]]
    ddp, fsdp, from_one = run("ended-ddp", "ddp", "muon"), run("ended-fsdp", "fsdp"), run("from-one", "fsdp")
    write_jobs(folder, [from_one, False, "abort"])
    runs(folder, Ranks.alone())
    write_jobs(folder, *whole, [ddp, False, "abort"], [fsdp, False, "kill"])
    killed = launch(2, PROGRAM, str(folder), "runs")
    assert "was killed by SIGKILL" in killed.stderr
    shutil.copytree(folder / "ended-fsdp", folder / "on-one")
    write_jobs(folder, [ddp, True, None], [fsdp, True, None], [from_one, True, None])
    result = launch(2, PROGRAM, str(folder), "runs")
    assert result.returncode == 0, result.stderr
    return folder


def write_jobs(folder: Path, *jobs: list[Any]) -> None:
    """What `runs` does next."""
    (folder / "jobs.json").write_text(json.dumps(jobs))


def tensors_of(run: Path) -> dict[str, Tensor]:
    """Weights, averages and random states of the last checkpoint."""
    checkpoint = RunFolder(run).newest_checkpoint()
    assert checkpoint is not None
    stored = {**open_shards(checkpoint, "model"), **open_shards(checkpoint, OPTIMIZER)}
    return {name: tensor.read() for name, tensor in stored.items()}


def losses_of(run: Path) -> dict[int, float]:
    return {row["step"]: row["loss"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_a_run_of_two_ranks_that_was_killed_resumes_to_the_uninterrupted_one(resumed: Path, kind: str) -> None:
    whole, ended = resumed / f"whole-{kind}", resumed / f"ended-{kind}"
    expected, found = tensors_of(whole), tensors_of(ended)
    assert {"rng_state.cpu.0", "rng_state.cpu.1", "model.embed_tokens.weight"} <= expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert losses_of(ended) == losses_of(whole)
    first_again = min(row["step"] for row in read_metrics(ended / "metrics.jsonl") if row["attempt"] == 2)
    assert first_again == KILLED_AFTER  # the checkpoint of step 4 was the newest
    result, wanted = load_file(ended / "model/model.safetensors"), load_file(whole / "model/model.safetensors")
    assert all(torch.equal(result[name], wanted[name]) for name in wanted)


@pytest.mark.slow
def test_ranks_differ_in_their_random_numbers_alone(resumed: Path) -> None:
    tensors = tensors_of(resumed / "whole-ddp")
    assert not torch.equal(tensors["rng_state.cpu.0"], tensors["rng_state.cpu.1"])


@pytest.mark.slow
def test_two_ranks_train_as_one_does(resumed: Path, options: dict[str, Any], tmp_path: Path) -> None:
    alone = TrainConfig.from_dict({**options, "output": str(tmp_path / "alone")})
    train(alone)
    expected, found = (
        [(row["step"], {k: v for k, v in row.items() if "loss" in k}) for row in read_metrics(run / "metrics.jsonl")]
        for run in (tmp_path / "alone", resumed / "whole-fsdp")
    )
    assert [step for step, _ in found] == [step for step, _ in expected]
    for (_, left), (_, right) in zip(found, expected, strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    assert sum("validation_loss" in row for _, row in found) == 2


@pytest.mark.slow
def test_a_checkpoint_in_shards_is_a_model_folder(resumed: Path, options: dict[str, Any]) -> None:
    run = resumed / "whole-fsdp"
    checkpoint = RunFolder(run).newest_checkpoint()
    assert checkpoint is not None
    assert not list(checkpoint.glob("*.bin")) + list(checkpoint.glob("*.pt")) + list(checkpoint.glob(".metadata"))
    loaded = load_model(checkpoint).state_dict()
    consolidated = load_file(run / "model/model.safetensors")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in consolidated.items())
    assert len(weights_hash(checkpoint)) == 64
    files = sorted(path.name for path in checkpoint.glob("model*"))
    assert files == ["model-rank-00000.safetensors", "model-rank-00001.safetensors", "model.shards.json"]
    assert find_model(resumed / "on-one").name == "step-00000004"


@pytest.mark.slow
def test_a_run_of_two_sharded_ranks_goes_on_alone(
    resumed: Path, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    run = {**options, "output": str(resumed / "on-one"), "parallel": "fsdp"}
    train(TrainConfig.from_dict(run), resume=True)
    assert "this resume is not bit-exact: 2 → 1 ranks" in caplog.text
    expected, found = losses_of(resumed / "whole-fsdp"), losses_of(resumed / "on-one")
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_run_of_one_rank_goes_on_with_two_sharded_ones(resumed: Path) -> None:
    assert losses_of(resumed / "from-one") == pytest.approx(losses_of(resumed / "whole-fsdp"), rel=1e-4)


@pytest.mark.slow
def test_a_damaged_shard_is_not_resumed_from(resumed: Path, tmp_path: Path) -> None:
    shutil.copytree(resumed / "whole-fsdp", tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    newest, before = run.checkpoint_folders()
    shard = newest / "optimizer-rank-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    assert run.newest_checkpoint() == before


@pytest.mark.slow
@pytest.mark.long
def test_three_ranks_go_on_with_what_two_and_one_began(options: dict[str, Any], tmp_path: Path) -> None:
    spread = {**options, "micro_batch_size": 1, "global_batch_size": 6, "parallel": "fsdp"}
    whole, two, one = ({**spread, "output": str(tmp_path / name)} for name in ("whole", "two", "one"))
    write_jobs(tmp_path, [whole, False, None], [one, False, "abort"])
    runs(tmp_path, Ranks.alone())
    write_jobs(tmp_path, [two, False, "abort"])
    assert launch(2, PROGRAM, str(tmp_path), "runs").returncode == 0
    write_jobs(tmp_path, [two, True, None], [one, True, None])
    result = launch(3, PROGRAM, str(tmp_path), "runs")
    assert result.returncode == 0, result.stderr
    for name in ("two", "one"):
        assert losses_of(tmp_path / name) == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-4)
        assert len(list(RunFolder(tmp_path / name).checkpoint(8).glob("model-rank-*"))) == 3


@pytest.mark.parametrize("world_size", [2, 3])
def test_rows_that_the_ranks_cannot_share_evenly_are_refused(
    options: dict[str, Any], tmp_path: Path, world_size: int
) -> None:
    config = TrainConfig.from_dict({**options, "output": str(tmp_path), "micro_batch_size": 8, "global_batch_size": 8})
    with pytest.raises(ConfigError, match=f"8 is not a multiple of micro_batch_size 8 × {world_size} ranks"):
        build_context(config, resume=False, ranks=Ranks(0, world_size))


@pytest.mark.parametrize("stage", ["grpo", "ppo"])
def test_rollouts_of_a_sharded_model_are_refused(cases: dict[str, dict[str, Any]], tmp_path: Path, stage: str) -> None:
    config = TrainConfig.from_dict({**cases[stage], "parallel": "fsdp", "output": str(tmp_path)})
    with pytest.raises(ConfigError, match=f"Stage {stage} lets each rank write texts"):
        build_context(config, resume=False, ranks=Ranks(0, 2, backend="gloo"))


def test_minibatches_that_the_ranks_cannot_make_are_refused(cases: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    config = TrainConfig.from_dict({**cases["grpo"], "num_minibatches": 8, "output": str(tmp_path)})
    with pytest.raises(ConfigError, match="num_minibatches 8 does not divide the 8 prompts of a step among 2 ranks"):
        build_context(config, resume=False, ranks=Ranks(0, 2, backend="gloo"))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"sample_interval": 2, "sample_prompts": ["the"]}, "sample_interval lets one rank write texts"),
        ({"optimizer": "adamw_8bit"}, "adamw_8bit quantises averages in blocks"),
    ],
)
def test_what_a_part_of_the_weights_cannot_do_is_refused(
    options: dict[str, Any], tmp_path: Path, asked: dict[str, Any], problem: str
) -> None:
    config = TrainConfig.from_dict({**options, **asked, "parallel": "fsdp", "output": str(tmp_path)})
    with pytest.raises(ConfigError, match=problem):
        build_context(config, resume=False, ranks=Ranks(0, 2, backend="gloo"))


def test_a_resume_with_other_threads_says_that_it_is_not_bit_exact(
    options: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = {**options, "output": str(tmp_path / "run"), "max_steps": 1}
    train(TrainConfig.from_dict(run))
    train(TrainConfig.from_dict({**run, "max_steps": 2}), resume=True)
    assert "bit-exact" not in caplog.text
    train(TrainConfig.from_dict({**run, "max_steps": 3, "num_threads": 2}), resume=True)
    assert "this resume is not bit-exact: 1 → 2 threads" in caplog.text
