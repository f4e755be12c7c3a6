"""Runs of the studio on a GPU, by torchrun and NCCL: killed, resumed, stopped, out of memory, estimated."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from core.config.train_config import TrainConfig
from core.trainer.run_folder import RunFolder, read_metrics
from studio import Job, JobState, JobStore, resume, start, stop
from studio.estimate import estimate
from studio.processes import processes_of
from studio.proofs import prove
from tests.studio.conftest import wait_for
from tests.studio.test_real_runs import STEPS, Configure, ended, ranks_of, steps_that_count, wait_for_rows

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Found GPU"),  # torch, of a card that its builds are newer or older than
]


@pytest.fixture
def gpu_config(config: Configure) -> Callable[..., TrainConfig]:
    return lambda **changes: config(**{"device": "cuda", "checkpoint_interval_s": 0.2, **changes})


@pytest.fixture
def crowded_gpu() -> Iterator[None]:
    """Another program has all of the GPU's memory but 700 MB, of which a process's own start takes most."""
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(free - 700_000_000, dtype=torch.uint8, device="cuda")
    yield
    del taken
    torch.cuda.empty_cache()


def last_loss(job: Job) -> float:
    return float([row["loss"] for row in read_metrics(job.folder / "metrics.jsonl") if "loss" in row][-1])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_rank_over_nccl_dies_is_resumed_stopped_and_ends_as_one_that_was_left_alone(
    store: JobStore, gpu_config: Configure, kind: str
) -> None:
    options = {"max_steps": STEPS, "parallel": kind}  # restarts are torchrun's
    whole = ended(store, start(store, gpu_config(**options), max_restarts=1), JobState.FINISHED)
    free_before, _ = torch.cuda.mem_get_info()
    job = start(store, gpu_config(**options), max_restarts=1)
    wait_for_rows(job, 5)
    ranks_of(job)[0].kill()  # torchrun starts another
    before = len(read_metrics(job.folder / "metrics.jsonl"))
    wait_for_rows(job, before + 5)
    stop(store, job.id)
    stopped = ended(store, job, JobState.STOPPED)
    assert stopped.step == steps_that_count(job)[-1] < STEPS
    assert RunFolder(job.folder).newest_checkpoint() == RunFolder(job.folder).checkpoint(stopped.step)
    assert wait_for(lambda: processes_of(job.folder) == [])
    free_after, _ = torch.cuda.mem_get_info()
    assert free_after >= free_before - 50_000_000
    resume(store, job.id)
    done = ended(store, job, JobState.FINISHED)
    assert steps_that_count(done) == steps_that_count(whole) == list(range(1, STEPS + 1))
    assert last_loss(done) == pytest.approx(last_loss(whole), rel=1e-4)


@pytest.mark.usefixtures("crowded_gpu")
def test_a_gpu_without_room_is_told_with_the_next_thing_to_try(store: JobStore, gpu_config: Configure) -> None:
    failed = ended(store, start(store, gpu_config(micro_batch_size=512, global_batch_size=512)), JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "oom", failed.failure
    assert "micro_batch_size" in failed.failure.remedy


def test_the_estimate_is_of_the_gpu(store: JobStore, gpu_config: Configure) -> None:
    config = gpu_config(max_steps=STEPS)
    found = estimate(config)
    assert found is not None
    assert (found.device, found.fits) == ("cuda", True)
    assert found.machine_memory_bytes > 0.5 * torch.cuda.get_device_properties(0).total_memory
    done = ended(store, start(store, config), JobState.FINISHED)
    peak = max(row["memory_bytes"] for row in read_metrics(done.folder / "metrics.jsonl") if "loss" in row)
    assert found.peak_memory_bytes == pytest.approx(peak, rel=0.3)


def test_resume_is_proven_on_the_gpu(gpu_config: Configure, tmp_path: Path) -> None:
    result = prove("resume", gpu_config(), tmp_path / "proof", seed=7, nproc=1, report=print)
    assert [check for check in result["checks"] if check["passed"] is False] == []
