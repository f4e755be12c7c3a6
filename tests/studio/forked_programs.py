"""The programs of a proof, forked from a process that has torch loaded already: a second for each instead of five."""

import importlib
import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

from core.parallel.failure import ERROR_FILE
from studio.proof import CAUSE_SUFFIX, Report
from tests.studio import seeded_bugs

forks = multiprocessing.get_context("forkserver")
PROGRAMS = ("core.trainer.rehearsal", "core.trainer.preflight")
TIMEOUT_S = 100


class ForkedPrograms:
    """Stands where studio.proof.run_module does, with a bug in every process that it starts."""

    def __init__(self, bug: str = "") -> None:
        self._bug = bug
        forks.set_forkserver_preload(["torch", "torch.distributed", *PROGRAMS])

    def __call__(self, arguments: list[str], log: Path, *, nproc: int = 1, show: Report | None = None) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        outputs = [log.with_suffix(f".{rank}.out") for rank in range(nproc)]
        processes = [
            forks.Process(target=run, args=(arguments, self._bug, log, outputs[rank], (rank, nproc, port)))
            for rank in range(nproc)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(TIMEOUT_S)
            assert process.exitcode is not None, "a program hangs"
        for line in outputs[0].read_text().splitlines():
            if show is not None:
                show(json.loads(line))
        return next((process.exitcode for process in processes if process.exitcode), 0)


def run(arguments: list[str], bug: str, log: Path, output: Path, place: tuple[int, int, int]) -> None:
    """One process of a program, as the rank that `place` (rank, how many, port) says."""
    rank, nproc, port = place
    for path, number in ((output, 1), (log, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    if nproc > 1:
        os.environ |= {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(nproc), "LOCAL_WORLD_SIZE": str(nproc), "TORCHELASTIC_RUN_ID": "test",
        }  # fmt: skip
    os.environ[ERROR_FILE] = str(log.with_suffix(CAUSE_SUFFIX if nproc == 1 else f".{rank}.error"))
    if bug:
        getattr(seeded_bugs, bug)()
    sys.argv = arguments
    sys.exit(importlib.import_module(arguments[0]).main())
