"""Random states of every rank, as tensors of a checkpoint."""

from collections.abc import Mapping

import torch
from torch import Tensor

from core.model.shards import ShardedTensor
from core.parallel.setup import Ranks

PREFIX = "rng_state."


def seed_rank(seed: int, step: int, ranks: Ranks) -> None:
    """Start this rank's random numbers, which differ from those of the others."""
    torch.manual_seed(((seed << 20) + step) * 4096 + ranks.rank)


def rng_tensors(device: torch.device, ranks: Ranks) -> dict[str, Tensor]:
    """`rng_state.KIND.RANK` for the CPU and, where the run has one, the GPU. Every rank must ask."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return {
        f"{PREFIX}{kind}.{rank}": part
        for kind, state in states.items()
        for rank, part in enumerate(ranks.gather(state))
    }


def restore_rng(stored: Mapping[str, ShardedTensor], device: torch.device, ranks: Ranks) -> bool:
    """Take up this rank's states; False when the run had fewer ranks and has none for it."""
    if f"{PREFIX}cpu.{ranks.rank}" not in stored:
        return False
    torch.set_rng_state(stored[f"{PREFIX}cpu.{ranks.rank}"].read())
    if device.type == "cuda" and f"{PREFIX}cuda.{ranks.rank}" in stored:
        torch.cuda.set_rng_state(stored[f"{PREFIX}cuda.{ranks.rank}"].read(), device)
    return True
