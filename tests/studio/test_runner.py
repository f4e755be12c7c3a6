"""Jobs from start to end, and what becomes of them when anything around them dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from core.errors import AssistantError, ConfigError, TrainingError
from core.parallel.priority import BACKGROUND, NICE
from studio import Job, JobState, JobStore, attend, identity, kill, resume, runner, start, start_program, stop
from studio.child import MAX_LOG_BYTES
from studio.job_folder import JobFolder
from studio.processes import processes_of
from tests.studio.conftest import processes_under, wait_for, wait_for_state, wait_for_step

Begin = Callable[..., Job]
LONG = {"num_steps": 100_000, "step_s": 0.02}


def kill_and_wait(process: psutil.Process) -> None:
    """Kill a process and wait until it is gone: a signal is only on its way when `kill` returns."""
    process.kill()
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)


def steps_of(job: Job) -> list[tuple[int, int]]:
    rows = [json.loads(line) for line in (job.folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["attempt"], row["step"]) for row in rows]


def supervisor_of(job: Job) -> psutil.Process:
    attempt = JobFolder(job.folder).read_attempt()
    assert attempt is not None
    assert attempt.supervisor is not None
    return psutil.Process(attempt.supervisor.pid)


def child_of(job: Job) -> psutil.Process:
    attempt = JobFolder(job.folder).read_attempt()
    assert attempt is not None
    assert attempt.child is not None
    return psutil.Process(attempt.child.pid)


def test_a_run_goes_from_its_start_to_its_end(store: JobStore, begin: Begin) -> None:
    job = begin(num_steps=5)
    assert job.state in (JobState.STARTING, JobState.RUNNING)
    done = wait_for_state(store, job.id, JobState.FINISHED)
    assert (done.attempt, done.step, done.num_steps, done.failure) == (1, 5, 5, None)
    assert done.seconds is not None
    assert 0 < done.seconds < 60
    assert wait_for(lambda: processes_under(store.root) == [])
    with pytest.raises(TrainingError, match=r"cannot be resumed: it is finished \(attempt 1\)"):
        resume(store, job.id)
    with pytest.raises(TrainingError, match="is not running: it is finished"):
        stop(store, job.id)


def test_a_stopped_run_has_its_checkpoint_and_goes_on_behind_it(store: JobStore, begin: Begin) -> None:
    job = begin(num_steps=30, step_s=0.05)
    wait_for_step(store, job.id, 3)
    stop(store, job.id)
    assert store.job(job.id).state in (JobState.STOPPING, JobState.STOPPED)
    stopped = wait_for_state(store, job.id, JobState.STOPPED)
    assert stopped.step is not None
    assert (job.folder / f"checkpoints/step-{stopped.step:08d}").is_dir()
    assert resume(store, job.id).attempt == 2
    done = wait_for_state(store, job.id, JobState.FINISHED)
    assert done.attempt == 2
    first = [(1, step) for step in range(1, stopped.step + 1)]
    assert steps_of(job) == [*first, *((2, step) for step in range(stopped.step + 1, 31))]


def test_kill_ends_every_process_and_frees_their_ports(store: JobStore, begin: Begin) -> None:
    job = begin(with_rank=True, is_deaf=True, **LONG)
    wait_for_step(store, job.id, 1)
    port = int(wait_for(lambda: (job.folder / "port").exists() and (job.folder / "port").read_text()))
    socket.create_connection(("127.0.0.1", port)).close()
    kill(store, job.id)
    assert store.job(job.id).state is JobState.STOPPED
    assert processes_of(job.folder) == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_run_whose_supervisor_is_killed_goes_on_and_gets_another(store: JobStore, begin: Begin) -> None:
    job = begin(**LONG)
    wait_for_state(store, job.id, JobState.RUNNING)
    first, child = supervisor_of(job), child_of(job)
    kill_and_wait(first)
    assert store.job(job.id).state is JobState.RUNNING
    attend(store)
    assert supervisor_of(job).pid != first.pid
    assert child_of(job) == child
    stop(store, job.id)
    stopped = wait_for_state(store, job.id, JobState.STOPPED)
    assert stopped.attempt == 1
    assert stopped.step == len(steps_of(job))


@pytest.mark.slow
def test_stop_and_kill_reach_a_run_without_supervisor(store: JobStore, begin: Begin) -> None:
    for end in (stop, kill):
        job = begin(**LONG)
        wait_for_step(store, job.id, 1)
        kill_and_wait(supervisor_of(job))
        end(store, job.id)
        wait_for_state(store, job.id, JobState.STOPPED)
        assert processes_of(job.folder) == []


def test_a_run_that_is_killed_with_its_supervisor_is_interrupted_and_goes_on_by_one_call(
    store: JobStore, begin: Begin
) -> None:
    job = begin(num_steps=30, step_s=0.05)
    wait_for_step(store, job.id, 2)
    for process in (supervisor_of(job), child_of(job)):
        process.kill()
    interrupted = wait_for_state(store, job.id, JobState.INTERRUPTED)
    assert interrupted.failure is None
    resume(store, job.id)
    assert wait_for_state(store, job.id, JobState.FINISHED).attempt == 2


def test_after_a_reboot_a_run_is_interrupted_whoever_has_its_process_ids_now(store: JobStore, begin: Begin) -> None:
    job = begin(num_steps=30, step_s=0.05)
    wait_for_step(store, job.id, 1)
    with patch.object(identity, "boot_id", lambda: "of the next boot"):
        assert store.job(job.id).state is JobState.INTERRUPTED  # although processes of these ids run
    for process in (supervisor_of(job), child_of(job)):
        process.kill()
    state = JobFolder(job.folder).state
    state.write_text(state.read_text().replace(identity.boot_id(), "of the boot before"))
    assert store.job(job.id).state is JobState.INTERRUPTED
    resume(store, job.id)
    assert wait_for_state(store, job.id, JobState.FINISHED).attempt == 2


def test_a_run_outlives_the_program_that_started_it(store: JobStore) -> None:
    program = f"""
import time
from pathlib import Path
from core.config.train_config import TrainConfig
from core.files import write_json
from studio import JobSpec, JobStore, runner
store = JobStore(Path({str(store.root)!r}))
spec = JobSpec("train", "test", time.time(), module="tests.studio.trainer", metadata={LONG!r})
config = TrainConfig.from_dict({{"data": "none", "output": "of the job"}})
print(runner._begin(store, "one", spec, lambda made: write_json(made.config, config.to_dict())).id, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.stdout is not None
        job_id = server.stdout.readline().decode().strip()
        wait_for_step(store, job_id, 2)
        os.killpg(server.pid, signal.SIGKILL)
    before = len(steps_of(store.job(job_id)))
    wait_for_step(store, job_id, before + 20)
    stop(JobStore(store.root), job_id)
    stopped = wait_for_state(store, job_id, JobState.STOPPED)
    assert stopped.step is not None
    assert steps_of(stopped) == [(1, step) for step in range(1, stopped.step + 1)]


@pytest.mark.slow
def test_of_many_who_resume_one_wins_and_the_others_get_a_sentence(store: JobStore, begin: Begin) -> None:
    job = begin(**LONG)
    wait_for_step(store, job.id, 1)
    kill(store, job.id)
    stores = [JobStore(store.root) for _ in range(4)]  # as many servers
    told: list[str] = []

    def go_on(own: JobStore) -> None:
        try:
            told.append(f"attempt {resume(own, job.id).attempt}")
        except AssistantError as exc:
            told.append(str(exc))

    threads = [threading.Thread(target=go_on, args=(own,)) for own in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("attempt 2") == 1
    assert sum("cannot be resumed: it is" in sentence and "(attempt 2)" in sentence for sentence in told) == 3
    assert len([process for process in processes_under(store.root) if "studio.supervisor" in process.cmdline()]) == 1


@pytest.mark.parametrize(
    ("options", "kind", "sentence"),
    [
        (
            {"fails": {"sentence": "Step 3 found no memory.", "kind": "oom", "remedy": "Lower it."}},
            "oom",
            "Step 3 found",
        ),
        ({"exits": 1, "says": "OSError: [Errno 28] No space left on device\n"}, "disk_full", "OSError: [Errno 28]"),
        ({"exits": 3}, "other", "The process ended with exit code 3 and left no word."),
        ({"dies_by": int(signal.SIGKILL)}, "killed", "The process was killed by SIGKILL."),
    ],
)
def test_a_failed_run_says_why_and_what_to_try(
    store: JobStore, begin: Begin, options: dict[str, object], kind: str, sentence: str
) -> None:
    job = wait_for_state(store, begin(**options).id, JobState.FAILED)
    assert job.failure is not None
    assert job.failure.kind == kind
    assert job.failure.sentence.startswith(sentence)
    assert job.failure.remedy


@pytest.mark.slow
def test_a_hundred_megabytes_on_stderr_do_not_stay_on_the_disk(store: JobStore, begin: Begin) -> None:
    job = begin(num_steps=100, stderr_mb=100)
    wait_for_state(store, job.id, JobState.FINISHED)
    assert JobFolder(job.folder).stderr.stat().st_size <= MAX_LOG_BYTES
    assert store.log_tail(job.id).splitlines()[-1] == "x" * 99


def test_a_jump_of_the_clock_changes_no_state(store: JobStore, begin: Begin) -> None:
    job = begin(**LONG)
    wait_for_state(store, job.id, JobState.RUNNING)
    real = time.time
    for jump in (-10 * 365 * 86400.0, 10 * 365 * 86400.0):
        with patch.object(time, "time", lambda jump=jump: real() + jump):
            assert store.job(job.id).state is JobState.RUNNING
            assert [found.state for found in JobStore(store.root).jobs()] == [JobState.RUNNING]
            attend(store)
    assert supervisor_of(job).is_running()
    kill(store, job.id)
    seconds = store.job(job.id).seconds
    assert seconds is not None
    assert 0 < seconds < 60


@pytest.mark.slow
def test_a_program_is_a_job_too(store: JobStore) -> None:
    written = start_program(store, "export", "tests.studio.program", ["{run}/result.json", "done"], name="Export")
    done = wait_for_state(store, written.id, JobState.FINISHED)
    assert (done.spec.kind, done.name) == ("export", "Export")
    assert json.loads((done.folder / "result.json").read_text()) == "done"
    failed = start_program(store, "merge", "tests.studio.program", ["/proc/no such place", "done"])
    failure = wait_for_state(store, failed.id, JobState.FAILED).failure
    assert failure is not None
    assert failure.sentence.startswith("FileNotFoundError")
    slow = start_program(store, "evaluate", "tests.studio.program", ["{run}/result.json", "sleep"])
    wait_for_state(store, slow.id, JobState.RUNNING)
    stop(store, slow.id)
    assert wait_for_state(store, slow.id, JobState.STOPPED).failure is None
    assert resume(store, slow.id).attempt == 2


@pytest.mark.slow
def test_a_job_gives_way_to_other_programs(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BACKGROUND)
    job = start_program(store, "evaluate", "tests.studio.program", ["{run}/result.json", "sleep"])
    wait_for(lambda: (attempt := JobFolder(job.folder).read_attempt()) and attempt.child)
    for process in (supervisor_of(job), child_of(job)):
        assert process.nice() == max(NICE, os.getpriority(os.PRIO_PROCESS, 0))
        group = Path(f"/proc/{process.pid}/autogroup")
        assert not group.exists() or int(group.read_text().split()[-1]) == NICE
    kill(store, job.id)


def test_a_run_that_cannot_be_is_refused_before_it_has_a_folder(store: JobStore, config: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match="nproc is 0"):
        start(store, config(), nproc=0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a tokenizer"):
        start(store, config(), prepare={"paths": [str(store.root)]})  # type: ignore[arg-type]
    assert store.jobs() == []


@pytest.mark.slow
def test_what_is_left_of_an_attempt_ends_before_the_next(store: JobStore, begin: Begin) -> None:
    job = begin(with_rank=True, num_steps=30, step_s=0.05)
    wait_for_step(store, job.id, 1)
    wait_for((job.folder / "port").exists)
    for process in (supervisor_of(job), child_of(job)):
        process.kill()
    wait_for_state(store, job.id, JobState.INTERRUPTED)
    [rank] = processes_of(job.folder)
    resume(store, job.id)
    assert not rank.is_running() or rank.status() == psutil.STATUS_ZOMBIE
    assert wait_for_state(store, job.id, JobState.FINISHED).attempt == 2


def test_a_supervisor_that_cannot_start_is_a_failure_and_no_endless_start(store: JobStore, begin: Begin) -> None:
    with patch.object(runner.sys, "executable", "/no such python"):
        failed = begin()
    assert failed.state is JobState.FAILED
    assert failed.failure is not None
    assert "could not be started" in failed.failure.sentence
    with patch.object(runner.sys, "executable", "/bin/false"):
        failed = resume(store, failed.id)
    assert (failed.state, failed.attempt) == (JobState.FAILED, 2)
    resume(store, failed.id)
    assert wait_for_state(store, failed.id, JobState.FINISHED).attempt == 3


def test_a_starter_that_dies_leaves_a_run_that_can_be_resumed(store: JobStore, begin: Begin) -> None:
    job = begin(num_steps=3)
    wait_for_state(store, job.id, JobState.FINISHED)
    folder = JobFolder(job.folder)
    attempt = folder.read_attempt()
    assert attempt is not None
    gone = replace(
        attempt,
        number=2,
        supervisor=None,
        child=None,
        starter=replace(identity.ProcessIdentity.this(), create_time=1.0),
    )
    folder.write_attempt(gone)
    assert store.job(job.id).state is JobState.INTERRUPTED
    assert resume(store, job.id).attempt == 3
