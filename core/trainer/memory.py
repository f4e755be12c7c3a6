"""Memory of a run: how much it takes, and what is said where there is none left."""

import re
import sys
from pathlib import Path

import psutil
import torch

from core.errors import TrainingError
from core.trainer.train_context import TrainContext

STATUS = Path("/proc/self/status")


def used_memory(device: torch.device) -> int:
    """Bytes: the most that tensors took on a GPU, what the process holds on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors took on a GPU, that this process held on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    if STATUS.exists():  # Linux counts what its parent held to ru_maxrss
        found = re.search(r"VmHWM:\s*(\d+) kB", STATUS.read_text(encoding="ascii", errors="replace"))
        return int(found[1]) << 10 if found else used_memory(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def wanted_memory(exc: BaseException) -> str:
    """`2.00 GiB`, where the error tells; else nothing."""
    asked = re.search(r"allocate ([\d.]+ ?\w+)", f"{exc} {exc.__cause__}")
    return asked[1] if asked else ""


def out_of_memory(context: TrainContext, exc: BaseException) -> TrainingError:
    """What ends a run whose step found no memory."""
    config = context.config
    wanted = wanted_memory(exc)
    return TrainingError(
        "Step {step} found no memory for {wanted} on {device}."
        if wanted
        else "Step {step} found no memory on {device}.",
        "Lower micro_batch_size (now {rows}; the result stays the same), then --resume; checkpoints are untouched."
        if config.micro_batch_size > 1
        else "Lower max_seq_len (now {size}), or train an adapter, then --resume; checkpoints are untouched.",
        kind="oom",
        step=context.step,
        wanted=wanted,
        device=context.device.type,
        rows=config.micro_batch_size,
        size=config.max_seq_len,
    )
