"""Follow a run of the studio: its last steps and what it says, then what comes. Ctrl-C leaves it running.

python launch.py tail RUN
python launch.py tail RUN --no-follow --lines 100
"""

import time
from argparse import ArgumentParser, Namespace
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

from app.commands.run_argument import add_run_argument, find_run, open_store
from app.commands.train import Progress
from studio import Job, JobStore
from studio.child import Rows
from studio.job_folder import JobFolder

POLL_S = 0.5
LOG_BYTES = 4000


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    parser.add_argument("--lines", type=int, default=10, metavar="N", help="steps to show at first (default 10)")
    parser.add_argument("--no-follow", action="store_true", help="end after those")


def run(arguments: Namespace) -> int:
    store = open_store()
    job = find_run(store, arguments.run)
    rows = Rows(JobFolder(job.folder).stdout)
    with closing(Progress()) as progress:
        if log := store.log_tail(job.id, LOG_BYTES):
            print(log, flush=True)
        for row in deque(rows.poll(), maxlen=max(arguments.lines, 0)):
            show(progress, row, is_training=job.spec.kind == "train")
        if not arguments.no_follow:
            follow(store, job, rows, progress)
    job = store.job(job.id)
    print(f"{job.id} is {job.state}.{f' {job.failure.sentence} {job.failure.remedy}' if job.failure else ''}")
    return 0


def follow(store: JobStore, job: Job, rows: Rows, progress: Progress) -> None:
    """Show what the run reports until it has ended."""
    is_over = False
    while not is_over:
        is_over = store.job(job.id).state.is_ended
        for row in rows.poll():
            show(progress, row, is_training=job.spec.kind == "train")
        if not is_over:
            time.sleep(POLL_S)


def show(progress: Progress, row: dict[str, Any], *, is_training: bool) -> None:
    """One row, also of what comes before the training or of another program."""
    if "preparing" in row:
        print(f"{row['preparing']}: {row['done']:,} of {row['total']:,} bytes", flush=True)
    elif not is_training:
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    elif "result" not in row or Path(row["result"]).name == "model":  # of a stopped run the last line says it
        progress.show(row)
