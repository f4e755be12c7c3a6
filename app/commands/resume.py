"""Go on with a run of the studio that was stopped, failed or was interrupted, from its newest checkpoint."""

from argparse import ArgumentParser, Namespace

from app.commands import PROGRAM
from app.commands.run_argument import add_run_argument, find_run, open_store
from studio import JobState, resume


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    parser.add_argument("--queue", action="store_true", help="wait until the runs before it have ended")


def run(arguments: Namespace) -> int:
    store = open_store()
    job = resume(store, find_run(store, arguments.run).id, queued=arguments.queue)
    what = "waits in the queue" if job.state is JobState.QUEUED else f"goes on, attempt {job.attempt}"
    print(f"{job.id} {what}. Follow it: {PROGRAM} tail {job.id}")
    return 0
