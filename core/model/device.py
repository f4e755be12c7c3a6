"""What of this machine a model may use: the device, its free memory, the cores. Importing it imports no torch."""

import os
from typing import TYPE_CHECKING

import psutil

from core.errors import ConfigError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """The device of this name; `auto` takes cuda, then mps, then cpu. Raises ConfigError for one that is not here."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_here in available.items() if is_here)
    if not available.get(name):
        raise ConfigError("device {name!r} is not available here.", "Use auto or cpu.", name=name)
    return torch.device(name)


def free_memory_bytes(device: "torch.device") -> int:
    """Memory that is free where tensors of this device lie."""
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def num_usable_cores() -> int:
    """Physical cores, fewer where the system binds this process to fewer processors."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    return min(physical, len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else physical
