"""Training runs that outlive the program that starts them.

    from studio import JobStore, start, stop, resume

    store = JobStore(studio_folder)
    job = start(store, TrainConfig(stage="sft", data="data/sft", base="models/starter", output="any"))
    print(store.job(job.id).state)
    stop(store, job.id)
    resume(store, job.id)

A job is a process of its own: this one may end, and another finds the job again by its folder.
"""

from studio.failures import Failure
from studio.job_folder import Job, JobSpec, JobState
from studio.job_store import JobStore
from studio.runner import attend, kill, resume, start, start_program, stop

__all__ = [
    "Failure",
    "Job",
    "JobSpec",
    "JobState",
    "JobStore",
    "attend",
    "kill",
    "resume",
    "start",
    "start_program",
    "stop",
]
