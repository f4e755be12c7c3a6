"""torchrun, with the end of a job in one sentence: `python -m core.parallel.launch [its options] -m core.trainer …`.

It is torch.distributed.run, whose agent starts the ranks, watches and restarts them. Two things differ:
a failed job ends with its cause instead of a table of processes, and SIGINT or SIGTERM is passed to the
ranks once and waited for, as long as their checkpoint takes; torchrun's agent would kill them after 30 s.
"""

import logging
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType

import psutil

from core.config.train_config import TrainConfig
from core.errors import Sentence
from core.model.device import num_usable_cores
from core.parallel.failure import Cause, cause_of_failure, first_cause, record_cause

# The trainer ends orderly when the file that this variable names is there.
STOP_FILE = "ASTRAI_STOP_FILE"


def launch_command(
    nproc: int, arguments: list[str], *, nodes: int = 1, rendezvous: str | None = None, max_restarts: int = 0
) -> list[str]:
    """The command that runs `arguments` (of a Python module, its name first) on so many processes a machine.

    Several machines meet at `rendezvous`, the HOST:PORT of one of them; its host takes the port.
    """
    where = ["--standalone", "--local-addr=127.0.0.1"]
    if rendezvous:
        where = [f"--nnodes={nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={rendezvous}", "--rdzv-id=astrai"]
    options = [*where, f"--nproc-per-node={nproc}", f"--max-restarts={max_restarts}"]
    return [sys.executable, "-m", "core.parallel.launch", *options, "-m", *arguments]


def launch_environment(config: TrainConfig, nproc: int) -> dict[str, str]:
    """What the ranks' environment has beside that of who starts them: their threads, where torchrun would set 1."""
    return {"OMP_NUM_THREADS": str(config.num_threads or max(num_usable_cores() // nproc, 1))}


class Launcher:
    """One agent, run beside the main thread, which is the one that signals reach."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._exit_code = 1

    def run(self) -> int:
        """Run the job to its end; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._pass_on)
        thread = threading.Thread(target=self._run_agent, name="agent")
        thread.start()
        while thread.is_alive():
            thread.join(0.2)  # a join without end would keep signals waiting
        return self._exit_code

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        for rank in psutil.Process().children():
            with suppress(psutil.NoSuchProcess):
                rank.send_signal(number)

    def _run_agent(self) -> None:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.elastic.rendezvous import RendezvousError
        from torch.distributed.run import parse_args, run

        with TemporaryDirectory(prefix="ranks-") as folder:
            try:
                run(parse_args([f"--log-dir={folder}", *self._arguments]))  # type: ignore[no-untyped-call]
            except ChildFailedError as exc:
                record_cause(cause_of_failure(exc))
            except (RendezvousError, RuntimeError, ValueError, OSError) as exc:
                watching = Cause(
                    Sentence("The ranks could not be started or watched: {reason}", reason=str(exc)), is_root=False
                )
                record_cause(first_cause(Path(folder)) or watching)
            else:
                self._exit_code = 0


def main() -> int:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of connections that end with their process
    # Restarted ranks would meet addresses of the dead ones in a store that outlives them: rank 0 holds it instead.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logging.disable()  # the agent's log tells of signals and exit codes, which the cause sums up
    return Launcher(sys.argv[1:]).run()


if __name__ == "__main__":
    raise SystemExit(main())
