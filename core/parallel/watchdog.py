"""A thread of every rank that shows it is alive, looks after the others and ends this process when one is lost.

A collective cannot tell a slow rank from a dead one; here every rank beats each second in the
run's store, whatever its main thread does. The first that suffers or notices an end publishes the cause, and
all ranks end with that sentence:

    a rank raised              its own error
    its process is gone        seen within a second by the ranks of its machine
    its beats stopped          it hangs, or its machine is gone: seen after SILENCE_S
    the launcher is gone       seen by its children within a second
"""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

import psutil
import torch.distributed as dist

from core.errors import Sentence
from core.parallel.failure import Cause, end_process, own_cause

BEAT_S = 1.0
SILENCE_S = 15.0
DONE = "done"


@dataclass(frozen=True, slots=True)
class Process:
    """Where a rank runs. `space` tells containers of one host name apart."""

    host: str
    space: str
    pid: int

    @staticmethod
    def this() -> "Process":
        space = Path("/proc/self/ns/pid")
        return Process(socket.gethostname(), str(space.readlink()) if space.exists() else "", os.getpid())

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_gone(self) -> bool:
        """Whether this process, of our machine, has ended."""
        try:
            return psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


class Watchdog:
    """Watches the ranks of one run. `end` is what happens to this process when another is lost."""

    def __init__(
        self, rank: int, world_size: int, *, silence_s: float = SILENCE_S, end: Callable[[Cause], None] = end_process
    ) -> None:
        self._rank, self._silence_s, self._end = rank, silence_s, end
        self._others = [other for other in range(world_size) if other != rank]
        self._address = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        host, _, port = self._address.rpartition(":")
        timeout = timedelta(seconds=silence_s)
        store = dist.TCPStore(host, int(port), is_master=False, timeout=timeout)  # type: ignore[attr-defined]
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._store = dist.PrefixStore(f"watchdog/{attempt}", store)  # type: ignore[attr-defined]
        self._process, self._launcher = Process.this(), os.getppid()
        self._processes: dict[int, Process] = {}
        self._heard: dict[int, tuple[bytes, float]] = {}
        self._num_beats, self._looked_at = 0, time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")
        self._store.set(f"process/{rank}", json.dumps(asdict(self._process)))
        self._store.set(f"beat/{rank}", "0")

    def start(self) -> None:
        """Begin to watch. Every rank must have made its watchdog."""
        for rank in self._others:
            self._processes[rank] = Process(**json.loads(self._store.get(f"process/{rank}")))
        self._thread.start()

    def stop(self) -> None:
        """End watching; from here on this process may leave."""
        self._stop_thread()
        with suppress(RuntimeError):  # the store has ended before us: nobody is left to be told
            self._store.set(f"beat/{self._rank}", DONE)

    def explain(self, exc: BaseException) -> Cause:
        """Why this rank ends: another's end, when `exc` is the echo of it, else `exc`, which the others are told."""
        self._stop_thread()
        if not is_lost_connection(exc):
            cause = own_cause(self._rank, exc)
            with suppress(RuntimeError):
                self._publish(cause)
            return cause
        deadline = time.monotonic() + self._silence_s + 5 * BEAT_S
        lost = self._look()
        while lost is None and time.monotonic() < deadline:
            time.sleep(0.2)
            lost = self._look()
        return lost or Cause(
            Sentence("Rank {rank} lost the connection to the others: {reason}.", rank=self._rank, reason=str(exc)),
            is_root=False,
            kind="peer_lost",
        )

    def _stop_thread(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(BEAT_S):
            cause = self._look()
            if cause is not None and not self._stopped.is_set():
                self._end(cause)
                return

    def _look(self) -> Cause | None:
        """Beat once, and see whether anything has happened to another rank."""
        now = time.monotonic()
        if now - self._looked_at > self._silence_s / 3:  # we were away ourselves, maybe all of us: listen anew
            self._heard.clear()
        self._looked_at = now
        if os.getppid() != self._launcher:  # a process that loses its parent gets another
            sentence = Sentence(
                "Rank {rank} lost its launcher (process {process}), which ended.",
                rank=self._rank, process=self._launcher,
            )  # fmt: skip
            return Cause(sentence, is_root=False, kind="peer_lost")
        # Before the store is read: who is done says so there before it leaves.
        gone = [rank for rank, process in self._processes.items() if self._is_beside(process) and process.is_gone]
        try:
            self._num_beats += 1
            self._store.set(f"beat/{self._rank}", str(self._num_beats))
            if self._store.check(["cause"]):
                return Cause.from_dict(json.loads(self._store.get("cause")))
            lost = self._lost(gone)
            return self._publish(lost) if lost else None
        except RuntimeError:
            if gone:
                return self._gone(gone[0])
            return self._lost_store()

    def _lost(self, gone: list[int]) -> Cause | None:
        """The first rank that is gone or silent."""
        for rank, process in self._processes.items():
            beat = self._store.get(f"beat/{rank}")
            before, since = self._heard.get(rank, (b"", 0.0))
            now = time.monotonic()
            if beat != before:
                self._heard[rank] = (beat, now)
            if beat == DONE.encode():
                continue
            if rank in gone:
                return self._gone(rank)
            if beat == before and now - since > self._silence_s:
                if self._is_beside(process):
                    os.kill(process.pid, signal.SIGKILL)  # else the launcher waits for it
                sentence = Sentence(
                    "Rank {rank} ({process}) has not answered for {seconds:.0f} s.",
                    rank=rank, process=str(process), seconds=now - since,
                )  # fmt: skip
                return Cause(sentence, is_root=True, kind="peer_lost")
        return None

    def _lost_store(self) -> Cause:
        """Rank 0 holds the store (torchrun's agent where it shares its own)."""
        first = self._processes.get(0)
        if first is not None and self._is_beside(first):
            with suppress(ProcessLookupError):
                os.kill(first.pid, signal.SIGKILL)
        sentence = Sentence(
            "Rank {rank} lost the launcher, which held the store at {address}."
            if first is None
            else "Rank {rank} lost rank 0 ({process}), which held the store at {address}.",
            rank=self._rank,
            process=str(first),
            address=str(self._address),
        )
        return Cause(sentence, is_root=False, kind="peer_lost")

    def _gone(self, rank: int) -> Cause:
        sentence = Sentence(
            "Rank {rank} ({process}) ended without a word.", rank=rank, process=str(self._processes[rank])
        )
        return Cause(sentence, is_root=False, kind="peer_lost")

    def _is_beside(self, process: Process) -> bool:
        """Whether it is of this machine, where we see its id."""
        return (process.host, process.space) == (self._process.host, self._process.space)

    def _publish(self, cause: Cause) -> Cause:
        """Tell all ranks; the first cause stands, and is returned."""
        told = self._store.compare_set("cause", "", json.dumps(cause.to_dict()))
        return Cause.from_dict(json.loads(told))


def is_lost_connection(exc: BaseException) -> bool:
    """Whether an exception says that a collective failed, which is how another rank's end is felt."""
    return isinstance(exc, dist.DistError) or (isinstance(exc, RuntimeError) and "gloo" in str(exc))
