"""The processes of one run: how many there are, which one this is, and what they tell each other.

torchrun starts them and says through the environment who is who. On CUDA gradients go through NCCL, all
else through gloo; `Ranks.alone()` is a run of one process and needs neither.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from core.errors import ConfigError, Sentence, SetupError, TrainingError, packed, unpacked
from core.model.device import num_usable_cores, resolve_device
from core.parallel.failure import record_cause
from core.parallel.watchdog import Watchdog, is_lost_connection

# Bounds waiting that is meant, such as for rank 0's checkpoint; a dead or hung rank is the watchdog's to find.
COLLECTIVE_TIMEOUT = timedelta(minutes=30)
PROBLEM_BYTES = 2000
GLOO = "gloo"
GLOO_AND_NCCL = "cpu:gloo,cuda:nccl"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those of its run. `local` counts on this machine; `backend` is empty without a group."""

    rank: int
    world_size: int
    local_rank: int = 0
    local_world_size: int = 1
    backend: str = ""

    @staticmethod
    def alone() -> "Ranks":
        return Ranks(0, 1)

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def is_group(self) -> bool:
        """Whether torchrun started this process, be it alone."""
        return bool(self.backend)

    def sum_(self, values: Tensor) -> Tensor:
        """Add up every rank's values, in place."""
        if self.is_group:
            dist.all_reduce(values)
        return values

    def any_true(self, claim: bool) -> bool:
        """Whether the claim holds on at least one rank. Every rank must ask."""
        return bool(self.total(int(claim)))

    def from_first(self, value: int) -> int:
        """Rank 0's value, on every rank."""
        return self.total(value if self.is_first else 0)

    def total(self, count: int) -> int:
        """The sum of every rank's count."""
        return count if not self.is_group else int(self.sum_(torch.tensor([count])).item())

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of what all ranks split among them, in order."""
        count = len(items)
        return items[self.rank * count // self.world_size : (self.rank + 1) * count // self.world_size]

    def first_problem(self, problem: str | None) -> str | None:
        """The problem of the lowest rank that has one; every rank must ask. Of a very long one the beginning."""
        if not self.is_group:
            return problem
        content = torch.zeros(PROBLEM_BYTES, dtype=torch.uint8)
        encoded = json.dumps(packed(problem), ensure_ascii=False).encode() if problem else b""
        if len(encoded) > PROBLEM_BYTES:
            encoded = json.dumps(str(problem)[: PROBLEM_BYTES // 8]).encode()
        content[: len(encoded)] = torch.tensor(list(encoded), dtype=torch.uint8)
        told = [bytes(part.tolist()).rstrip(b"\0") for part in self.gather(content)]
        return next((unpacked(json.loads(one)) for one in told if one), None)

    def gather(self, values: Tensor) -> list[Tensor]:
        """Every rank's values, of one shape, by rank."""
        if not self.is_group:
            return [values]
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(parts, values)
        return parts

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.is_group:
            self.sum_(torch.zeros(1))

    def num_threads(self, wanted: int) -> int:
        """CPU threads of this process: `wanted`, or for 0 its share of the machine's cores."""
        return wanted or max(num_usable_cores() // self.local_world_size, 1)

    def device(self, name: str) -> torch.device:
        """Where this rank trains: one GPU for each rank of a machine, or the CPU. Raises: ConfigError."""
        if not self.is_group:
            return resolve_device(name)
        if name == "mps":
            raise ConfigError("device mps cannot train on several processes.", "Use --device cpu, or one process.")
        has_cuda = name in ("auto", "cuda") and torch.cuda.is_available()
        device = resolve_device("cuda" if has_cuda else name.replace("auto", "cpu"))
        if device.type == "cuda" and self.local_world_size > torch.cuda.device_count():
            raise ConfigError(
                "{wanted} processes on this machine need as many GPUs, it has {count}.",
                "Use --nproc {count}, or --device cpu.",
                wanted=self.local_world_size,
                count=torch.cuda.device_count(),
            )
        return device


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """The ranks of this run, joined to each other while the context lasts; alone where torchrun started nothing.

    An exception that leaves the context is told to the other ranks, which end with it as their cause; where
    it is only the echo of another rank's end, that rank's cause is raised in its place.
    Raises: ConfigError for a device that the ranks cannot have, SetupError when they do not find each other.
    """
    ranks = _from_environment()
    if not ranks.is_group:
        yield ranks
        return
    if ranks.device(device).type == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    try:
        dist.init_process_group(ranks.backend, timeout=COLLECTIVE_TIMEOUT)
    except (RuntimeError, ValueError) as exc:
        raise SetupError(
            "Rank {rank} of {count} did not find the others: {reason}",
            "Check that all machines reach the rendezvous address.",
            rank=ranks.rank,
            count=ranks.world_size,
            reason=exc,
        ) from exc
    watchdog = Watchdog(ranks.rank, ranks.world_size)
    try:
        ranks.barrier()
        watchdog.start()
        yield ranks
        ranks.barrier()
        watchdog.stop()
        ranks.barrier()  # rank 0, which holds the store, leaves after everyone has stopped watching
    except BaseException as exc:
        cause = watchdog.explain(exc)
        record_cause(cause)
        if not is_lost_connection(exc):
            raise
        advice = cause.remedy or Sentence("The run goes on from its last checkpoint with --resume.")
        raise TrainingError("{reason}", "{advice}", kind=cause.kind, reason=cause.sentence, advice=advice) from exc
    dist.destroy_process_group()


def _from_environment() -> Ranks:
    """What torchrun says, or alone."""
    if "TORCHELASTIC_RUN_ID" not in os.environ or "RANK" not in os.environ:
        return Ranks.alone()
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, world_size, local_rank, local_world_size = (int(os.environ[name]) for name in names)
    backend = GLOO_AND_NCCL if torch.cuda.is_available() and dist.is_nccl_available() else GLOO
    return Ranks(rank, world_size, local_rank, local_world_size, backend)
