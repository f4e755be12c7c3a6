"""The processes of a run, found wherever they are.

torchrun gives each rank a session of its own, and a rank whose launcher is gone has another parent: neither group nor
tree finds all. So every process of a run carries the run's folder in its environment, which its children inherit.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

import psutil

from studio.identity import ProcessIdentity

RUN_VARIABLE = "ASTRAI_RUN"
END_TIMEOUT_S = 10.0
POLL_S = 0.02


def processes_of(run: Path) -> list[psutil.Process]:
    """Those that run for a run folder, without its supervisor and without this process."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(RUN_VARIABLE) == str(run):
                found.append(process)
    return found


def end_processes(run: Path, supervisor: ProcessIdentity | None = None) -> int:
    """Kill them until none is left, the supervisor first; returns how many there were.

    A child of this process is left for its `Popen` to collect, with its exit code.
    """
    if supervisor is not None and supervisor.is_alive():
        with suppress(psutil.Error):
            psutil.Process(supervisor.pid).kill()
    ended = set()
    deadline = time.monotonic() + END_TIMEOUT_S
    while (left := processes_of(run)) and time.monotonic() < deadline:
        for process in left:
            with suppress(psutil.Error):
                process.kill()
                ended.add(process.pid)
        time.sleep(POLL_S)
    return len(ended)
