"""Jobs that wait for each other."""

from collections.abc import Callable

import psutil
import pytest

from studio import Job, JobState, JobStore, attend, kill, stop
from studio.runner import _is_held
from tests.studio.conftest import processes_under, wait_for, wait_for_state, wait_for_step

Begin = Callable[..., Job]


def keepers(store: JobStore) -> list[psutil.Process]:
    return [process for process in processes_under(store.root) if "studio.queue_keeper" in process.cmdline()]


def test_one_process_drains_the_queue_in_its_order_and_ends(store: JobStore, begin: Begin) -> None:
    first = begin(queued=True, num_steps=10_000, step_s=0.02)
    wait_for_step(store, first.id, 1)
    second, third = begin(queued=True, num_steps=2), begin(queued=True, num_steps=2)
    assert [store.job(job.id).state for job in (second, third)] == [JobState.QUEUED] * 2
    assert wait_for(lambda: len(keepers(store)) == 1)
    assert store.reorder([third.id]) == [third.id, second.id]
    stop(store, first.id)
    for job in (second, third):
        wait_for_state(store, job.id, JobState.FINISHED)
    started = {job.id: job.started for job in store.jobs()}
    assert (started[third.id] or 0) < (started[second.id] or 0)
    assert wait_for(lambda: not _is_held(store.keeper_lock))
    assert store.queue() == []


@pytest.mark.slow
def test_a_killed_keeper_is_followed_by_another_and_its_jobs_run_on(store: JobStore, begin: Begin) -> None:
    first = begin(queued=True, num_steps=10_000, step_s=0.02)
    wait_for_step(store, first.id, 1)
    second = begin(queued=True, num_steps=2)
    for keeper in wait_for(lambda: keepers(store)):
        keeper.kill()
    assert wait_for(lambda: not _is_held(store.keeper_lock))
    assert store.job(first.id).state.is_live
    kill(store, first.id)
    assert store.job(second.id).state is JobState.QUEUED
    attend(JobStore(store.root))  # a page is opened
    wait_for_state(store, second.id, JobState.FINISHED)


def test_a_job_that_waits_can_leave_the_queue(store: JobStore, begin: Begin) -> None:
    first = begin(queued=True, num_steps=10_000, step_s=0.02)
    wait_for_step(store, first.id, 1)
    second = begin(queued=True)
    stop(store, second.id)
    assert store.job(second.id).state is JobState.STOPPED
    assert store.queue() == []
