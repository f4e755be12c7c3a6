"""One model on many ranks: torch's DistributedDataParallel and FSDP2 behind one door.

What is trained is wrapped as one module, the `Entry`, whose forward runs a function. So whatever a
strategy does with the weights (hidden states, the head's matrix alone, a value model beside) happens
inside a forward pass, where DDP arms its gradient hooks and FSDP2 gathers the weights.

Both average gradients over the ranks, which the Trainer undoes once. Sources: Li et al. 2020 (DDP), Zhao
et al. 2023 (FSDP), torch's documentation of fully_shard.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from core.model.layers import Block
from core.parallel.setup import Ranks

P = ParamSpec("P")
R = TypeVar("R")

# fp32 weight, gradient and AdamW's two averages.
BYTES_PER_TRAINED_PARAMETER = 16
# The rest is for activations.
SHARE_OF_MEMORY = 0.6


class Entry(nn.Module):
    """The modules that are trained; its forward is any function that uses them."""

    def __init__(self, trained: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(trained.values())

    def forward(self, function: Callable[..., R], *args: Any, **kwargs: Any) -> R:
        return function(*args, **kwargs)


class Parallel:
    """What binds this rank's modules to those of the others."""

    def __init__(self, module: nn.Module | None = None) -> None:
        """`module` is an `Entry` in DDP or as an FSDP2 module; None where there is nothing to bind to."""
        self._module = module

    @property
    def is_sharded(self) -> bool:
        """Whether each rank keeps but a part of every weight."""
        return self._module is not None and _is_sharded(self._module)

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that uses the modules' weights. Under FSDP2 every rank must, and equally often."""
        if self._module is None:
            return function(*args, **kwargs)
        result: R = self._module(function, *args, **kwargs)
        if self.is_sharded and not torch.is_grad_enabled():
            self._module.reshard()  # type: ignore[operator]  # else only a backward pass does
        return result

    @contextmanager
    def micro_batch(self, *, is_last: bool) -> Iterator[None]:
        """Around forward and backward of one micro batch: gradients cross ranks in the last one alone."""
        if isinstance(self._module, DistributedDataParallel) and not is_last:
            with self._module.no_sync():
                yield
            return
        if self._module is not None and self.is_sharded:
            self._module.set_requires_gradient_sync(is_last)  # type: ignore[operator]
        yield


def wrap(trained: Mapping[str, nn.Module], ranks: Ranks, kind: str, *, dtype: torch.dtype) -> Parallel:
    """Bind the modules to their copies (`ddp`) or share them out (`fsdp`) over the ranks.

    With dtype bfloat16 FSDP2 gathers weights in bf16 and sums gradients in fp32; what each rank keeps is fp32.
    """
    if not ranks.is_group:
        return Parallel()
    entry = Entry(trained)
    if kind == "ddp":
        # Buffers are quantised weights, which every rank has read from the same file.
        buffers = [name for name, _ in entry.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(entry, buffers)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return Parallel(DistributedDataParallel(entry, gradient_as_bucket_view=True))
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    device = next(entry.parameters()).device
    settings: dict[str, Any] = {"mesh": init_device_mesh(device.type, (ranks.world_size,))}
    if dtype != torch.float32:
        settings["mp_policy"] = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    for block in [module for module in entry.modules() if isinstance(module, Block)]:
        fully_shard(block, **settings)
    fully_shard(entry, **settings)
    return Parallel(entry)


def choose_kind(wanted: str, *, num_trained: int, free_bytes: int) -> str:
    """`wanted`, or for auto: fsdp where a rank has no room for all weights, gradients and averages, else ddp."""
    if wanted != "auto":
        return wanted
    return "fsdp" if num_trained * BYTES_PER_TRAINED_PARAMETER > SHARE_OF_MEMORY * free_bytes else "ddp"


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which FSDP2 keeps a part on each rank; every rank must ask. Others are what they are."""
    return tensor.full_tensor() if is_dtensor(tensor) else tensor  # type: ignore[attr-defined]


def like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A whole tensor, the same on every rank, as the parts that the ranks keep of `parameter`."""
    if not is_dtensor(parameter):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
    return distribute_tensor(tensor, mesh, placements, src_data_rank=None)  # each rank cuts its own: nothing is sent


def is_dtensor(tensor: Tensor) -> bool:
    """Whether this is a part of a tensor, as FSDP2 keeps it."""
    if not (dist.is_available() and dist.is_initialized()):
        return False  # without importing the class, which takes its time
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _is_sharded(module: nn.Module) -> bool:
    return hasattr(module, "set_requires_gradient_sync")
