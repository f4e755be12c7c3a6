"""Jobs of several processes: how they end when one of them does, stop, start again, and meet on two machines."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.config.train_config import TrainConfig
from core.parallel.launch import launch_command
from core.trainer.run_folder import RunFolder, read_metrics
from tests.core.parallel.job import launch, options, start

Options = Callable[..., dict[str, object]]

# Each of these starts two processes that import torch; the fast suite has others that do.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
END_S = 30
LONG = {"max_steps": 100_000, "micro_batch_size": 2, "global_batch_size": 4, "device": "cpu", "validation_interval": 0}


def config_of(run_options: Options, **changes: object) -> Path:
    """The config of a run, in its folder."""
    config = TrainConfig.from_dict({**run_options(), **LONG, **changes})
    path = Path(config.output) / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(config.to_dict()))
    return path


def wait_for_step(run: Path, step: int, *, attempt: int = 1, timeout_s: float = 300) -> None:
    end = time.monotonic() + timeout_s
    while not any(row["step"] >= step and row["attempt"] == attempt for row in read_metrics(run / "metrics.jsonl")):
        assert time.monotonic() < end, f"step {step} did not come"
        time.sleep(0.1)


def ranks_of(job: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    ranks = {}
    for child in psutil.Process(job.pid).children():
        with suppress(psutil.Error):  # it has just ended
            ranks[int(child.environ()["RANK"])] = child
    return ranks


def end_of(job: subprocess.Popen[str], *, within_s: float = END_S) -> tuple[str, str]:
    """Its output, and that none of its processes is left."""
    output, errors = job.communicate(timeout=within_s)
    return output, errors


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_job_with_its_name(run_options: Options, victim: int) -> None:
    path = config_of(run_options)
    with start(2, "core.trainer", str(path)) as job:
        wait_for_step(path.parent, 3)
        ranks = ranks_of(job)
        ranks[victim].kill()
        _, errors = end_of(job)
    assert errors.strip().splitlines()[-1].startswith(f"Rank {victim} (process {ranks[victim].pid}) was killed by SIGK")
    assert job.returncode == 1
    assert not any(rank.is_running() for rank in ranks.values())


@pytest.mark.long
def test_a_hung_rank_ends_the_job_with_its_name(run_options: Options) -> None:
    path = config_of(run_options)
    with start(2, "core.trainer", str(path)) as job:
        wait_for_step(path.parent, 3)
        hung = ranks_of(job)[1]
        hung.suspend()
        _, errors = end_of(job)
    assert f"Rank 1 (process {hung.pid} on {socket.gethostname()}) has not answered for 1" in errors
    assert not hung.is_running()


def test_an_error_of_one_rank_is_the_one_sentence(run_options: Options, tmp_path: Path) -> None:
    result = launch(2, "tests.core.parallel.failing_rank")
    assert result.stderr.splitlines() == ["Rank 1: Row 7 is bad. Mend it."]
    assert result.returncode == 1


def test_a_bad_config_is_one_sentence(run_options: Options) -> None:
    path = config_of(run_options)
    path.write_text(path.read_text().replace('"micro_batch_size": 2', '"micro_batch_size": 3'))
    result = launch(2, "core.trainer", str(path))
    assert len(result.stderr.splitlines()) == 1
    assert "global_batch_size 4 is not a multiple of micro_batch_size 3" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_ranks_with_one_checkpoint(run_options: Options, number: signal.Signals) -> None:
    path = config_of(run_options)
    with start(2, "core.trainer", str(path), "--report") as job:
        wait_for_step(path.parent, 3)
        job.send_signal(number)
        output, errors = end_of(job)
    rows = [json.loads(line) for line in output.splitlines()]
    checkpoint = RunFolder(path.parent).newest_checkpoint()
    assert rows[-1] == {"result": str(checkpoint)}
    assert {"stopping": True} in rows
    assert errors == ""
    assert job.returncode == 0


def test_the_ranks_do_not_outlive_their_launcher(run_options: Options) -> None:
    path = config_of(run_options)
    with start(2, "core.trainer", str(path)) as job:
        wait_for_step(path.parent, 3)
        ranks = list(ranks_of(job).values())
        job.kill()
        gone, alive = psutil.wait_procs(ranks, timeout=END_S)
        assert (len(gone), alive) == (2, [])


def test_a_run_whose_reader_goes_away_goes_on(run_options: Options) -> None:
    path = config_of(run_options, max_steps=40)
    with start(2, "core.trainer", str(path), "--report") as job:
        wait_for_step(path.parent, 2)
        assert job.stdout is not None
        job.stdout.close()
        assert job.wait(timeout=300) == 0
    assert (path.parent / "model/config.json").exists()


@pytest.mark.long
def test_a_job_starts_again_from_its_checkpoint_after_a_rank_was_killed(run_options: Options) -> None:
    path = config_of(run_options, checkpoint_interval_s=3.0, max_steps=1500)
    run = RunFolder(path.parent)
    with start(2, "core.trainer", str(path), max_restarts=2) as job:
        wait_for_step(run.root, 1)  # there is no checkpoint yet
        ranks_of(job)[1].kill()
        wait_for_step(run.root, 1, attempt=2)
        while run.newest_checkpoint() is None:
            time.sleep(0.1)
        ranks_of(job)[0].kill()
        output, errors = end_of(job, within_s=400)
    assert job.returncode == 0, output + errors
    firsts: dict[int, int] = {}
    for row in read_metrics(run.metrics):
        firsts.setdefault(row["attempt"], row["step"])
    assert list(firsts) == [1, 2, 3]
    assert firsts[2] == 1
    assert firsts[3] > 1
    assert run.checkpoint(1500).exists()


def test_two_machines_meet_and_train_one_run(run_options: Options) -> None:
    path = config_of(run_options, max_steps=4, parallel="fsdp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    command = launch_command(1, ["core.trainer", str(path), "--report"], nodes=2, rendezvous=rendezvous)
    with subprocess.Popen(command, **options()) as first, subprocess.Popen(command, **options()) as second:
        ends = [end_of(job, within_s=300) for job in (first, second)]
    assert [job.returncode for job in (first, second)] == [0, 0], ends
    reports = [output for output, _ in ends if output]
    assert len(reports) == 1
    assert json.loads(reports[0].splitlines()[0])["num_ranks"] == 2
    assert len(list(RunFolder(path.parent).checkpoint(4).glob("model-rank-*"))) == 2


@pytest.mark.long
def test_a_rank_lost_on_one_machine_is_named_on_the_other(run_options: Options) -> None:
    path = config_of(run_options)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        rendezvous = f"127.0.0.1:{probe.getsockname()[1]}"
    command = launch_command(1, ["core.trainer", str(path)], nodes=2, rendezvous=rendezvous)
    with subprocess.Popen(command, **options()) as first, subprocess.Popen(command, **options()) as second:
        wait_for_step(path.parent, 3)
        jobs: dict[int, Any] = {next(iter(ranks_of(job))): job for job in (first, second)}
        victim = ranks_of(jobs[1])[1]
        os.kill(victim.pid, signal.SIGKILL)
        _, seen_beside = end_of(jobs[0])
        _, seen_at_home = end_of(jobs[1])
    assert seen_beside == f"Rank 1 (process {victim.pid} on {socket.gethostname()}) ended without a word.\n"
    assert f"Rank 1 (process {victim.pid}) was killed by SIGKILL" in seen_at_home
