"""The real trainer as a job: what kills it, what stops it, and that nothing is lost or done twice."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from core.config.train_config import TrainConfig
from core.data.metric_rows import latest_rows
from core.trainer.run_folder import RunFolder, read_metrics
from studio import Job, JobState, JobStore, kill, resume, start, stop
from studio.processes import processes_of
from tests.core.conftest import sentences
from tests.studio.conftest import wait_for
from tests.studio.test_runner import child_of, supervisor_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Configure = Callable[..., TrainConfig]
SLOW_S = 300.0
# Long enough to be met in the middle, short enough to wait for.
STEPS = 150


def wait_for_rows(job: Job, count: int) -> None:
    """Until the run has written so many rows of metrics."""
    wait_for(lambda: len(read_metrics(job.folder / "metrics.jsonl")) >= count, SLOW_S)


def ended(store: JobStore, job: Job, state: JobState) -> Job:
    found = wait_for(lambda: (now := store.job(job.id)).state.is_ended and now, SLOW_S)
    assert found.state is state, f"{found.failure} {store.log_tail(job.id)}"
    return found


def steps_that_count(job: Job) -> list[int]:
    return [row["step"] for row in latest_rows(read_metrics(job.folder / "metrics.jsonl")) if "loss" in row]


def weights(job: Job) -> dict[str, torch.Tensor]:
    return load_file(job.folder / "model/model.safetensors")


def assert_same_end(job: Job, other: Job) -> None:
    """Both runs have every step once, and ended with the same weights to the bit."""
    assert steps_that_count(job) == steps_that_count(other) == list(range(1, STEPS + 1))
    left, right = weights(job), weights(other)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.long
def test_a_run_stopped_killed_and_interrupted_ends_as_one_that_was_left_alone(
    store: JobStore, config: Configure
) -> None:
    whole = start(store, config(max_steps=STEPS))
    job = start(store, config(max_steps=STEPS, checkpoint_interval_s=0.2))
    wait_for_rows(job, 5)
    stop(store, job.id)
    stopped = ended(store, job, JobState.STOPPED)
    assert stopped.step == steps_that_count(job)[-1]
    for end in (kill, interrupt):
        before = len(read_metrics(job.folder / "metrics.jsonl"))
        resume(store, job.id)
        wait_for_rows(job, before + 5)
        end(store, job.id)
        assert wait_for(lambda: store.job(job.id).state.is_ended)
    resume(store, job.id)
    done = ended(store, job, JobState.FINISHED)
    assert done.attempt == 4
    ended(store, whole, JobState.FINISHED)
    assert_same_end(done, whole)


def interrupt(store: JobStore, job_id: str) -> None:
    """The machine loses its power."""
    for process in (supervisor_of(store.job(job_id)), child_of(store.job(job_id))):
        process.kill()


@pytest.mark.long
def test_two_ranks_run_and_the_death_of_one_is_told_and_mended(store: JobStore, config: Configure) -> None:
    options = {"max_steps": STEPS, "checkpoint_interval_s": 0.2}
    whole = start(store, config(max_steps=STEPS), nproc=2)
    ended(store, whole, JobState.FINISHED)
    job = start(store, config(**options), nproc=2)
    wait_for_rows(job, 5)
    rank = ranks_of(job)[-1]
    rank.kill()
    failed = ended(store, job, JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "killed"
    assert f"(process {rank.pid}) was killed by SIGKILL" in failed.failure.sentence
    assert wait_for(lambda: processes_of(job.folder) == [])
    before = len(read_metrics(job.folder / "metrics.jsonl"))
    resume(store, job.id)
    wait_for_rows(job, before + 5)
    child_of(store.job(job.id)).kill()  # torchrun
    failed = ended(store, job, JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "killed"
    assert processes_of(job.folder) == []
    before = len(read_metrics(job.folder / "metrics.jsonl"))
    resume(store, job.id)
    wait_for_rows(job, before + 5)
    stop(store, job.id)
    ended(store, job, JobState.STOPPED)
    resume(store, job.id)
    done = ended(store, job, JobState.FINISHED)
    assert done.attempt == 4
    assert_same_end(done, whole)


def ranks_of(job: Job) -> list[psutil.Process]:
    found = [process for process in processes_of(job.folder) if process.environ().get("RANK")]
    return sorted(found, key=lambda process: process.environ()["RANK"])


def test_two_ranks_outlive_their_supervisor_and_stop_orderly_after(store: JobStore, config: Configure) -> None:
    job = start(store, config(max_steps=100_000), nproc=2)
    wait_for_rows(job, 5)
    supervisor_of(job).kill()
    before = len(read_metrics(job.folder / "metrics.jsonl"))
    wait_for_rows(job, before + 5)
    stop(store, job.id)
    stopped = ended(store, job, JobState.STOPPED)
    assert stopped.attempt == 1
    assert RunFolder(job.folder).newest_checkpoint() == RunFolder(job.folder).checkpoint(steps_that_count(job)[-1])
    assert processes_of(job.folder) == []


@pytest.mark.long
def test_a_restart_of_torchrun_goes_on_by_itself(store: JobStore, config: Configure) -> None:
    job = start(store, config(max_steps=STEPS, checkpoint_interval_s=0.2), nproc=2, max_restarts=2)
    wait_for_rows(job, 20)
    ranks_of(job)[0].kill()
    done = ended(store, job, JobState.FINISHED)
    assert done.attempt == 1
    assert steps_that_count(job) == list(range(1, STEPS + 1))


def test_a_run_outlives_the_server_and_another_finds_it(store: JobStore, config: Configure, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config(max_steps=100_000).to_dict()))
    program = f"""
import time
from pathlib import Path
from core.config.train_config import TrainConfig
from studio import JobStore, start
print(start(JobStore(Path({str(store.root)!r})), TrainConfig.from_json(Path({str(path)!r}))).id, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        job = store.job(server.stdout.readline().decode().strip())
        wait_for_rows(job, 3)
        os.killpg(server.pid, signal.SIGKILL)
    before = len(read_metrics(job.folder / "metrics.jsonl"))
    wait_for_rows(job, before + 20)
    other = JobStore(store.root)
    assert [found.state for found in other.jobs()] == [JobState.RUNNING]
    stop(other, job.id)
    ended(other, job, JobState.STOPPED)
    steps = steps_that_count(job)
    assert steps == list(range(1, len(steps) + 1))


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(store: JobStore, config: Configure) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # what the job's processes inherit
    try:
        job = start(store, config(max_steps=STEPS, checkpoint_interval_s=0.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    failed = ended(store, job, JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "disk_full"
    assert "could not be written" in failed.failure.sentence
    resume(store, job.id)
    ended(store, job, JobState.FINISHED)
    assert steps_that_count(job) == list(range(1, STEPS + 1))


def test_a_loss_that_is_no_number_is_told(store: JobStore, config: Configure) -> None:
    failed = ended(store, start(store, config(max_steps=STEPS, learning_rate=1e6, max_grad_norm=0.0)), JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "nan"
    assert "Lower learning_rate" in failed.failure.remedy


def test_files_are_prepared_as_a_part_of_the_run(store: JobStore, config: Configure, tmp_path: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in sentences(400, seed=3)))
    prepare = {"paths": [str(texts)], "vocab_size": 420, "workers": 1}
    done = ended(store, start(store, config(max_steps=4), prepare=prepare), JobState.FINISHED)
    assert (done.folder / "data/dataset.json").exists()
    assert steps_that_count(done) == [1, 2, 3, 4]


def test_files_that_hold_nothing_are_told_with_file_and_row(store: JobStore, config: Configure, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "whole"\n')
    prepare = {"paths": [str(broken)], "tokenizer": "models/starter", "workers": 1}
    failed = ended(store, start(store, config(), prepare=prepare), JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "data"
    assert "broken.jsonl" in failed.failure.sentence
    assert "1" in failed.failure.sentence


def test_data_of_another_stage_is_told(store: JobStore, config: Configure) -> None:
    failed = ended(store, start(store, config(stage="sft", base="models/starter")), JobState.FAILED)
    assert failed.failure is not None
    assert failed.failure.kind == "data"
    assert "holds pt data, stage sft needs sft" in failed.failure.sentence
