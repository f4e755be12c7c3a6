"""A run of two ranks, one of which dies again and again, ends as if nothing had happened."""

import multiprocessing
import random
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from core.parallel.failure import EXIT_LOST
from core.trainer.run_folder import RunFolder, read_metrics
from tests.core.trainer import killed_rank
from tests.core.trainer.test_parallel import losses_of, tensors_of
from tests.figures import Figure

NUM_KILLS = 50
NUM_STEPS = 130
TIMEOUT_S = 100

forks = multiprocessing.get_context("forkserver")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def run_ranks(options: dict[str, Any], folder: Path, *, victim: int = 0, killed_at: int | None = None) -> list[int]:
    """Train on two ranks, of which the victim dies before a step; returns the exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        step = killed_at if rank == victim else None
        error_file = folder / f"error-{rank}.json"
        error_file.unlink(missing_ok=True)
        processes.append(forks.Process(target=killed_rank.run, args=(rank, port, options, step, str(error_file))))
        processes[-1].start()
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode is not None, "a rank hangs"
    return [process.exitcode for process in processes]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["ddp", pytest.param("fsdp", marks=pytest.mark.long)])
def test_two_ranks_killed_at_fifty_random_steps_end_as_the_uninterrupted_run(
    text_data: Path, tmp_path: Path, kind: str, figure: Figure
) -> None:
    forks.set_forkserver_preload(["torch", "tests.core.trainer.killed_rank"])
    options = {
        "data": str(text_data), "preset": "tiny", "max_seq_len": 32, "micro_batch_size": 2, "global_batch_size": 8,
        "max_steps": NUM_STEPS, "precision": "fp32", "device": "cpu", "num_threads": 1, "log_interval": 1,
        "validation_interval": 0, "parallel": kind,
    }  # fmt: skip
    whole, ended = tmp_path / "whole", tmp_path / "ended"
    assert run_ranks({**options, "output": str(whole)}, tmp_path) == [0, 0]
    draw = random.Random(kind)
    for _ in range(NUM_KILLS):
        newest = RunFolder(ended).newest_checkpoint()
        done = int(newest.name.rpartition("-")[2]) if newest else 0
        victim, step = draw.randrange(2), done + draw.randrange(1, 4)
        codes = run_ranks({**options, "output": str(ended)}, tmp_path, victim=victim, killed_at=step)
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] == EXIT_LOST
    assert run_ranks({**options, "output": str(ended)}, tmp_path) == [0, 0]
    assert max(row["attempt"] for row in read_metrics(ended / "metrics.jsonl")) > 2
    expected, found = tensors_of(whole), tensors_of(ended)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert losses_of(ended) == losses_of(whole)
    figure("G6 kills", NUM_KILLS, seed=kind)
