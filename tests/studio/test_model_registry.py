"""Models as a tree by what their trainings noted, with their evaluations."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config.train_config import TrainConfig
from core.files import read_json_object, write_json
from core.trainer import train
from studio import JobSpec, JobStore
from studio.model_registry import ModelNode, children, models

Options = Callable[..., dict[str, object]]


@pytest.fixture
def made(store: JobStore, run_options: Options, pair_data: Path) -> dict[str, Path]:
    """PT → RM and PT → DPO (an adapter), each the run of a job."""
    folders: dict[str, Path] = {}
    for stage in ("pt", "rm", "dpo"):
        folder = store.add(f"20260101-000000-{stage}", JobSpec("train", stage.upper(), 0.0), lambda _: None).root
        base = {} if stage == "pt" else {"base": str(folders["pt"]), "data": str(pair_data), "max_seq_len": 96}
        if stage == "dpo":
            base |= {"adapter": "lora", "lora_rank": 2}
        options = run_options(stage=stage, output=str(folder), max_steps=1, **base)
        train(TrainConfig.from_dict({k: v for k, v in options.items() if stage == "pt" or k != "preset"}))
        folders[stage] = folder
    return folders


def tree(store: JobStore, tmp_path: Path) -> dict[str, ModelNode]:
    (tmp_path / "models").mkdir(exist_ok=True)
    nodes = models(store, tmp_path / "models", tmp_path / "no starter")
    assert all(
        node.parent is None or node.parent in [each.path for each in nodes[:place]] for place, node in enumerate(nodes)
    )
    return {node.name: node for node in nodes}


def test_the_tree_follows_the_runs(store: JobStore, made: dict[str, Path], tmp_path: Path) -> None:
    nodes = tree(store, tmp_path)
    root = nodes["PT"]
    assert (root.stage, root.parent, root.missing_parent, root.num_steps) == ("pt", None, None, 1)
    assert root.num_parameters == nodes["DPO"].num_parameters > 0
    assert {node.name for node in children(list(nodes.values()), root.path)} == {"RM", "DPO"}
    assert (nodes["RM"].is_reward_model, nodes["RM"].is_adapter) == (True, False)
    assert (nodes["DPO"].is_reward_model, nodes["DPO"].is_adapter) == (False, True)
    assert nodes["DPO"].job_id == made["dpo"].name


def test_a_parent_that_was_moved_is_found_by_its_weights(
    store: JobStore, made: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    shutil.move(made["pt"] / "model", tmp_path / "models" / "kept")
    shutil.rmtree(made["pt"])
    nodes = tree(store, tmp_path)
    assert nodes["RM"].parent == nodes["kept"].path
    shutil.rmtree(tmp_path / "models" / "kept")
    assert (tree(store, tmp_path)["RM"].parent, tree(store, tmp_path)["RM"].missing_parent) == (None, str(made["pt"]))


def test_another_model_in_the_parents_place_is_not_taken_for_it(
    store: JobStore, made: dict[str, Path], run_options: Options, tmp_path: Path
) -> None:
    shutil.rmtree(made["pt"] / "model")
    train(TrainConfig.from_dict(run_options(output=str(tmp_path / "other"), max_steps=1, seed=7)))
    shutil.move(tmp_path / "other" / "model", made["pt"] / "model")
    nodes = tree(store, tmp_path)
    assert (nodes["RM"].parent, nodes["RM"].missing_parent) == (None, str(made["pt"]))


def test_evaluations_stand_at_their_models(store: JobStore, made: dict[str, Path], tmp_path: Path) -> None:
    def fill(folder: object) -> None:
        write_json(folder.root / "result.json", {"results": [{"bits_per_byte": 2.5}]})

    store.add("20260102-000000-evaluate", JobSpec("evaluate", "e", 1.0, metadata={"of": str(made["pt"])}), fill)

    def fill_log(folder: object) -> None:
        folder.stdout.write_text('file  bytes\n{"pairs": [{"accuracy": 0.6}]}\n')

    spec = JobSpec("evaluate", "e", 2.0, metadata={"of": str(made["rm"] / "model")})
    store.add("20260103-000000-evaluate", spec, fill_log)
    nodes = tree(store, tmp_path)
    assert [score["results"] for score in nodes["PT"].evaluations] == [[{"bits_per_byte": 2.5}]]
    assert [score["pairs"] for score in nodes["RM"].evaluations] == [[{"accuracy": 0.6}]]
    assert nodes["DPO"].evaluations == ()


def test_damaged_and_forged_folders_are_passed_over(store: JobStore, made: dict[str, Path], tmp_path: Path) -> None:
    for name, text in (("broken", "{"), ("list", "[]"), ("empty", "{}")):
        folder = tmp_path / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text)
    config = made["pt"] / "model" / "config.json"
    write_json(config, {**read_json_object(config), "astrai": {"stage": "pt", "base": str(made["rm"])}})
    assert tree_names(store, tmp_path) >= {"PT", "RM", "DPO"}


def tree_names(store: JobStore, tmp_path: Path) -> set[str]:
    return {node.name for node in models(store, tmp_path / "models", tmp_path / "no starter")}


def test_it_needs_no_torch() -> None:
    modules = ("metrics_stream", "datasets", "token_inspector", "estimate", "presets", "form", "bottleneck")
    names = ", ".join(f"studio.{name}" for name in (*modules, "model_registry", "sample_data"))
    program = f"import sys, {names}; sys.exit(int('torch' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
