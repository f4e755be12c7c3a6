"""Stop a run of the studio: it saves a checkpoint, from which `resume` goes on. One that waits leaves the queue.

python launch.py stop RUN
python launch.py stop RUN --now      kill its processes; what came after the last checkpoint is lost
"""

import time
from argparse import ArgumentParser, Namespace

from app.commands import PROGRAM
from app.commands.run_argument import add_run_argument, find_run, open_store, steps_text
from studio import kill, stop

POLL_S = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    parser.add_argument("--now", action="store_true", help="kill it, without a checkpoint")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it has ended")


def run(arguments: Namespace) -> int:
    store = open_store()
    job = find_run(store, arguments.run)
    (kill if arguments.now else stop)(store, job.id)
    if not arguments.no_wait:
        while store.job(job.id).state.is_live:
            time.sleep(POLL_S)
    job = store.job(job.id)
    done = f" at step {steps_text(job)}" if steps_text(job) else ""
    print(f"{job.id} is {job.state}{done}. Go on: {PROGRAM} resume {job.id}")
    return 0
