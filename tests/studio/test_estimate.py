"""An estimate is what a run then takes; it ends in time, and says when there is no memory."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.config.train_config import TrainConfig
from core.errors import TrainingError
from core.files import write_json
from core.trainer import probe, train
from core.trainer.run_folder import read_metrics
from studio.estimate import ROOT, Estimate, estimate
from tests.core.conftest import pairs

Options = Callable[..., dict[str, object]]


def test_the_probe_says_what_the_run_has(run_options: Options, text_data: Path, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options(global_batch_size=8, max_steps=7))
    measured = probe.probe(config)
    assert (measured.device, measured.num_steps, measured.longest_row_tokens) == ("cpu", 7, 32)
    assert measured.tokens_per_step == 8 * 32
    assert measured.num_trained == measured.num_parameters > 0
    assert measured.step_s > 0
    assert measured.peak_memory_bytes > 50e6
    assert not (tmp_path / "run").exists()


def test_the_longest_pairs_are_stepped_and_the_mean_is_told(
    run_options: Options, pair_data: Path, text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = probe.ProbeTrainer._accumulate

    def spy(self: probe.ProbeTrainer, batch: object, tally: object) -> None:
        seen.append(batch.input_ids.shape[1])
        step(self, batch, tally)

    monkeypatch.setattr(probe.ProbeTrainer, "_accumulate", spy)
    base = run_options(max_steps=1, preset="tiny")
    train(TrainConfig.from_dict(base))
    options = run_options(
        stage="dpo", data=str(pair_data), base=str(tmp_path / "run"), max_seq_len=96, cache_reference=True
    )
    del options["preset"]
    measured = probe.probe(TrainConfig.from_dict({**options, "output": str(tmp_path / "other")}))
    assert set(seen) == {-(-measured.longest_row_tokens // 8) * 8}
    assert not (pair_data / "reference").exists()  # no pass over the whole data


def test_a_micro_batch_is_as_wide_as_its_longest_row() -> None:
    assert probe._mean_share(np.array([10, 2, 4, 4]), 2) == (10 + 4) / 2 / 10
    assert probe._mean_share(np.array([6]), 4) == 1


def stage_options(stage: str, run_options: Options, pair_data: Path, tmp_path: Path) -> dict[str, object]:
    """A run of the starter's shape, whose steps are long enough to be measured."""
    options = run_options(preset="starter", max_seq_len=64, micro_batch_size=4, global_batch_size=8, max_steps=8)
    if stage != "pt":
        preset = "starter" if stage == "dpo" else "tiny"
        train(TrainConfig.from_dict({**options, "preset": preset, "max_steps": 1, "output": str(tmp_path / "base")}))
        del options["preset"]
        options |= {"stage": stage, "data": str(pair_data), "base": str(tmp_path / "base")}
    if stage in ("grpo", "ppo"):
        judge = {"stage": "rm", "max_seq_len": 96, "max_steps": 1, "output": str(tmp_path / "rm")}
        train(TrainConfig.from_dict({**options, **judge}))
        options |= {"reward_model": str(tmp_path / "rm"), "max_seq_len": 96, "max_new_tokens": 32}
        options |= {"num_generations": 4, "rollout_batch_size": 16}
    return options


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", ["pt", "dpo", "grpo", "ppo"])
def test_a_step_takes_what_was_estimated(
    run_options: Options, pair_data: Path, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within 30 %, in the processor's time, which other programs on the machine do not stretch."""
    config = TrainConfig.from_dict(stage_options(stage, run_options, pair_data, tmp_path))
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    measured = probe.probe(config)
    train(config)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.jsonl") if "tokens" in row]
    tokens = np.diff([0, *(row["tokens"] for row in rows)])
    step_s = np.median([count / row["tokens_per_s"] for count, row in zip(tokens, rows, strict=True)][1:])
    assert measured.num_steps == 8
    assert measured.step_s == pytest.approx(step_s, rel=0.3)
    assert measured.tokens_per_step == pytest.approx(tokens.mean(), rel=0.3)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(500)
@pytest.mark.parametrize("stage", ["pt", "dpo"])
def test_a_run_takes_the_memory_that_was_estimated(
    run_options: Options, pair_data: Path, stage: str, tmp_path: Path
) -> None:
    """Within 15 %, each in a process of its own."""
    config = TrainConfig.from_dict(stage_options(stage, run_options, pair_data, tmp_path))
    found = estimate(config, timeout_s=400)
    assert isinstance(found, Estimate)
    assert found.fits
    assert found.total_s == pytest.approx(8 * found.step_s)
    assert found.peak_memory_bytes == pytest.approx(peak_of_run(config), rel=0.15)


def peak_of_run(config: TrainConfig) -> int:
    """Bytes: the most that the process of a run held."""
    folder = Path(config.output)
    write_json(folder.with_suffix(".json"), config.to_dict())
    process = subprocess.Popen(
        [sys.executable, "-m", "core.trainer", str(folder.with_suffix(".json"))], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        for line in status.read_text().splitlines() if status.exists() else ():
            peak = max(peak, int(line.split()[1]) << 10 if line.startswith("VmHWM") else 0)
        time.sleep(0.05)
    assert process.returncode == 0
    return peak


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_files_that_are_not_prepared_are_measured_by_their_beginning(tmp_path: Path, run_options: Options) -> None:
    rows = [
        {"prompt": pair.messages[0]["content"], "chosen": pair.chosen, "rejected": pair.rejected}
        for pair in pairs(3000, seed=9)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) + " " * 1000 for row in rows))
    train(TrainConfig.from_dict(run_options(max_steps=1)))
    options = run_options(stage="rm", base=str(tmp_path / "run"), output=str(tmp_path / "rm"), max_seq_len=96)
    del options["preset"], options["max_steps"]
    config = TrainConfig.from_dict(options | {"data": "-"})
    found = estimate(config, prepare={"paths": [str(tmp_path / "pairs.jsonl")], "drop_duplicates": False})
    assert isinstance(found, Estimate)
    assert found.total_s == pytest.approx(found.step_s * found.num_steps)
    assert 3000 / 8 / 4 < found.num_steps < 3000 / 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_ends_when_asked_and_in_time_and_says_why_steps_fail(run_options: Options, tmp_path: Path) -> None:
    config = TrainConfig.from_dict(run_options())
    assert estimate(config, should_stop=lambda: True) is None
    with pytest.raises(TrainingError, match=r"took longer than 0 s.*smaller micro_batch_size"):
        estimate(config, timeout_s=0.01)
    with pytest.raises(TrainingError, match=r"has no dataset\.json"):
        estimate(TrainConfig.from_dict(run_options(data=str(tmp_path))))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
def test_two_processes_are_measured_as_two(run_options: Options, tmp_path: Path) -> None:
    """Their memory is that of both; a config that two cannot share is refused as the run refuses it."""
    config = TrainConfig.from_dict(run_options(global_batch_size=8))
    one, two = estimate(config), estimate(config, nproc=2)
    assert isinstance(one, Estimate)
    assert isinstance(two, Estimate)
    assert 1.5 < two.peak_memory_bytes / one.peak_memory_bytes < 2.5
    assert (two.num_steps, two.num_parameters) == (one.num_steps, one.num_parameters)
    with pytest.raises(TrainingError, match="is not a multiple of micro_batch_size"):
        estimate(TrainConfig.from_dict(run_options(global_batch_size=4, micro_batch_size=4)), nproc=2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_without_room_does_not_fit(run_options: Options) -> None:
    shape = {"hidden_size": 65536, "num_hidden_layers": 1024, "intermediate_size": 200_000}
    found = estimate(TrainConfig.from_dict(run_options(model=shape)))
    assert isinstance(found, Estimate)
    assert not found.fits
