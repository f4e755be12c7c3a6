"""What the words about the studio's runs have in common: the argument that names one, and the line that shows it."""

import os
import time
from argparse import ArgumentParser

from app.paths import studio_dir
from core.errors import TrainingError
from studio import Job, JobStore, attend

NEWEST = "last"


def add_run_argument(parser: ArgumentParser) -> None:
    """Declare RUN."""
    parser.add_argument(
        "run", metavar="RUN", help=f"its id, a part of its id or of its name that no other has, or `{NEWEST}`"
    )


def open_store() -> JobStore:
    """The studio of this user, where what should run does. What this process writes from now on is the user's alone."""
    os.umask(0o077)
    store = JobStore(studio_dir())
    attend(store)
    return store


def find_run(store: JobStore, name: str) -> Job:
    """The run that is meant. Raises: TrainingError when there is none, or more than one."""
    jobs = store.jobs()
    if name == NEWEST and jobs:
        return jobs[0]
    found = [job for job in jobs if name == job.id] or [job for job in jobs if name in job.id or name in job.name]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(job.id for job in found[:5])
        raise TrainingError(f"{name!r} means {len(found)} runs: {ids}.", "Give more of the id.")
    raise TrainingError(f"There is no run {name!r}.", "`python launch.py runs` lists them.")


def steps_text(job: Job) -> str:
    """`120/2000`, or nothing before the first."""
    return f"{job.step}/{job.num_steps}" if job.step is not None and job.num_steps else ""


def started_text(job: Job) -> str:
    """`2026-11-26 08:45` of the last attempt, or of the asking for one that waits."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(job.started or job.spec.created))
