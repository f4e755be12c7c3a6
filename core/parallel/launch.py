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

from core.parallel.failure import cause_of_failure, first_cause


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
                sys.stderr.write(f"{cause_of_failure(exc)}\n")
            except (RendezvousError, RuntimeError, ValueError, OSError) as exc:
                cause = first_cause(Path(folder)) or f"The ranks could not be started or watched: {exc}"
                sys.stderr.write(f"{cause}\n")
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
