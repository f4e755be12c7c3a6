"""List the studio's runs, the newest first, or say everything about one.

python launch.py runs
python launch.py runs RUN            its settings that matter, its folder, why it failed
python launch.py runs --next RUN     put a run that waits first in the queue
"""

import json
from argparse import ArgumentParser, Namespace
from typing import Any

from app.commands import PROGRAM
from app.commands.run_argument import find_run, open_store, started_text, steps_text
from core.errors import TrainingError
from studio import Job, JobState

MAX_ROWS = 30


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", metavar="RUN", help="one run: its id, a part of it, or `last`")
    parser.add_argument("--all", action="store_true", help=f"list more than the newest {MAX_ROWS}")
    parser.add_argument("--next", metavar="RUN", help="put this run first in the queue")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def run(arguments: Namespace) -> int:
    store = open_store()
    if arguments.next:
        job = find_run(store, arguments.next)
        if job.id not in store.queue():
            raise TrainingError(f"{job.id} does not wait: it is {job.state}.", "Only the queue has an order.")
        store.reorder([job.id])
    jobs = [find_run(store, arguments.run)] if arguments.run else store.jobs()
    if arguments.json:
        for job in jobs:
            print(json.dumps(plain(job), ensure_ascii=False))
    elif arguments.run:
        print_one(jobs[0])
    elif jobs:
        print_table(jobs if arguments.all else jobs[:MAX_ROWS], store.queue())
        if len(jobs) > MAX_ROWS and not arguments.all:
            print(f"… and {len(jobs) - MAX_ROWS} older ones (--all)")
    else:
        print(f"There is no run yet. Start one: {PROGRAM} train --detach … (see `{PROGRAM} train --help`)")
    return 0


def plain(job: Job) -> dict[str, Any]:
    """A job as data for other programs."""
    return {
        "id": job.id,
        "name": job.name,
        "kind": job.spec.kind,
        "state": job.state.value,
        "attempt": job.attempt,
        "step": job.step,
        "num_steps": job.num_steps,
        "started": job.started,
        "ended": job.ended,
        "folder": str(job.folder),
        "failure": job.failure.to_dict() if job.failure else None,
    }


def print_table(jobs: list[Job], queue: list[str]) -> None:
    """One line a run."""
    print(f"{'run':34} {'state':14} {'step':>13}  {'started':16}  name")
    for job in jobs:
        place = f" ({queue.index(job.id) + 1})" if job.id in queue else ""
        print(f"{job.id:34} {job.state + place:14} {steps_text(job):>13}  {started_text(job):16}  {job.name}")


def print_one(job: Job) -> None:
    """Everything about one run, and what can be done with it."""
    lines = {
        "run": f"{job.id} ({job.name})",
        "state": f"{job.state}, attempt {job.attempt}",
        "step": steps_text(job),
        "started": started_text(job),
        "time": f"{job.seconds:.0f} s" if job.seconds is not None else "",
        "folder": str(job.folder),
        "note": job.note,
    }
    if job.failure:
        lines |= {"failed": f"{job.failure.sentence} ({job.failure.kind})", "remedy": job.failure.remedy}
    for name, text in lines.items():
        if text:
            print(f"{name:8} {text}")
    if job.state.is_live:
        print(f"Follow it: {PROGRAM} tail {job.id}    Stop it: {PROGRAM} stop {job.id}")
    elif job.state.is_ended and job.state is not JobState.FINISHED:
        print(f"Go on: {PROGRAM} resume {job.id}")
