"""Models as a tree by what their trainings noted, with their evaluations."""

import shutil
from pathlib import Path

import pytest

from core.config.train_config import TrainConfig
from core.data.tokenizer import Tokenizer
from core.files import read_json_object, write_json
from core.trainer import train
from studio import JobSpec, JobStore
from studio.job_folder import JobFolder
from studio.model_registry import ModelNode, children, models


@pytest.fixture(scope="module")
def family(tokenizer: Tokenizer, text_data: Path, pair_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studio whose runs are PT → RM and PT → DPO (an adapter), and a run of another seed beside it."""
    root = tmp_path_factory.mktemp("family")
    store = JobStore(root / "studio")
    for stage in ("pt", "rm", "dpo"):
        folder = store.add(f"20260101-000000-{stage}", JobSpec("train", stage.upper(), 0.0), lambda _: None).root
        trained(stage, folder, store.runs / "20260101-000000-pt", text_data, pair_data)
    trained("pt", root / "other", root, text_data, pair_data, seed=7)
    return root


def trained(stage: str, folder: Path, base: Path, text_data: Path, pair_data: Path, **changes: object) -> None:
    """One step of a stage."""
    options: dict[str, object] = {"preset": "tiny", "data": str(text_data), "max_seq_len": 32}
    if stage != "pt":
        options = {"base": str(base), "data": str(pair_data), "max_seq_len": 96}
    if stage == "dpo":
        options |= {"adapter": "lora", "lora_rank": 2}
    small = {"micro_batch_size": 2, "global_batch_size": 2, "max_steps": 1, "device": "cpu", "num_threads": 1}
    train(TrainConfig.from_dict({"stage": stage, "output": str(folder), **small, **options, **changes}))


@pytest.fixture
def store(family: Path) -> JobStore:
    return JobStore(family / "studio")


@pytest.fixture
def runs(store: JobStore) -> dict[str, Path]:
    return {stage: store.runs / f"20260101-000000-{stage}" for stage in ("pt", "rm", "dpo")}


def tree(store: JobStore, tmp_path: Path) -> dict[str, ModelNode]:
    (tmp_path / "models").mkdir(exist_ok=True)
    nodes = models(store, tmp_path / "models", tmp_path / "no starter")
    for place, node in enumerate(nodes):
        assert node.parent is None or node.parent in [other.path for other in nodes[:place]]
    return {node.name: node for node in nodes}


def test_the_tree_follows_the_runs(store: JobStore, runs: dict[str, Path], tmp_path: Path) -> None:
    nodes = tree(store, tmp_path)
    root = nodes["PT"]
    assert (root.stage, root.parent, root.missing_parent, root.num_steps) == ("pt", None, None, 1)
    assert root.num_parameters == nodes["DPO"].num_parameters > 0
    assert {node.name for node in children(list(nodes.values()), root.path)} == {"RM", "DPO"}
    assert (nodes["RM"].is_reward_model, nodes["RM"].is_adapter) == (True, False)
    assert (nodes["DPO"].is_reward_model, nodes["DPO"].is_adapter) == (False, True)
    assert nodes["DPO"].job_id == runs["dpo"].name


def test_evaluations_stand_at_their_models(store: JobStore, runs: dict[str, Path], tmp_path: Path) -> None:
    def fill(folder: JobFolder) -> None:
        write_json(folder.root / "result.json", {"results": [{"bits_per_byte": 2.5}]})

    def fill_log(folder: JobFolder) -> None:
        folder.stdout.write_text('file  bytes\n{"pairs": [{"accuracy": 0.6}]}\n')

    store.add("20260102-000000-evaluate", JobSpec("evaluate", "e", 1.0, metadata={"of": str(runs["pt"])}), fill)
    spec = JobSpec("evaluate", "e", 2.0, metadata={"of": str(runs["rm"] / "model")})
    store.add("20260103-000000-evaluate", spec, fill_log)
    nodes = tree(store, tmp_path)
    assert [score["results"] for score in nodes["PT"].evaluations] == [[{"bits_per_byte": 2.5}]]
    assert [score["pairs"] for score in nodes["RM"].evaluations] == [[{"accuracy": 0.6}]]
    assert nodes["DPO"].evaluations == ()


def test_damaged_and_forged_folders_are_passed_over(store: JobStore, runs: dict[str, Path], tmp_path: Path) -> None:
    for name, text in (("broken", "{"), ("list", "[]"), ("empty", "{}")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text)
    shutil.copytree(runs["pt"] / "model", tmp_path / "models" / "ring")
    config = tmp_path / "models" / "ring" / "config.json"
    write_json(config, {**read_json_object(config), "astrai": {"stage": "pt", "base": str(config.parent)}})
    assert {*tree(store, tmp_path)} >= {"PT", "RM", "DPO", "ring"}


def test_a_parent_is_known_by_its_weights_wherever_it_lies(
    store: JobStore, runs: dict[str, Path], family: Path, tmp_path: Path
) -> None:
    """Moved, replaced by another model, gone: in this order, since each changes the family."""
    (tmp_path / "models").mkdir()
    shutil.move(runs["pt"] / "model", tmp_path / "models" / "kept")
    shutil.move(runs["pt"] / "checkpoints", tmp_path / "checkpoints")
    nodes = tree(store, tmp_path)
    assert nodes["RM"].parent == nodes["kept"].path
    shutil.copytree(family / "other" / "model", runs["pt"] / "model")
    nodes = tree(store, tmp_path)
    assert nodes["RM"].parent == nodes["kept"].path != nodes["PT"].path
    shutil.rmtree(tmp_path / "models" / "kept")
    nodes = tree(store, tmp_path)
    assert (nodes["RM"].parent, nodes["RM"].missing_parent) == (None, str(runs["pt"]))
