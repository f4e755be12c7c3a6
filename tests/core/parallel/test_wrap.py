"""The door to DDP and FSDP2 as one process sees it; several are in tests/core/trainer/test_parallel.py."""

import pytest
import torch
from torch import nn

from core.parallel.setup import Ranks
from core.parallel.wrap import Parallel, choose_kind, like, whole, wrap

GIB = 2**30


@pytest.mark.parametrize(
    ("wanted", "num_trained", "free_bytes", "kind"),
    [
        ("auto", 10**9, 80 * GIB, "ddp"),  # 16 GB of weights, gradients and averages
        ("auto", 8 * 10**9, 80 * GIB, "fsdp"),  # 128 GB
        ("ddp", 8 * 10**9, 80 * GIB, "ddp"),
        ("fsdp", 10**6, 80 * GIB, "fsdp"),
    ],
)
def test_weights_are_shared_out_where_they_do_not_fit(
    wanted: str, num_trained: int, free_bytes: int, kind: str
) -> None:
    assert choose_kind(wanted, num_trained=num_trained, free_bytes=free_bytes) == kind


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_process_alone_runs_functions_as_they_are(kind: str) -> None:
    model = nn.Linear(2, 2)
    parallel = wrap({"": model}, Ranks.alone(), kind, dtype=torch.float32)
    assert not parallel.is_sharded
    with parallel.micro_batch(is_last=False):
        assert torch.equal(parallel.run(model, torch.ones(1, 2)), model(torch.ones(1, 2)))
    assert Parallel().run(max, 1, 2) == 2


def test_a_tensor_that_is_not_shared_out_is_whole() -> None:
    tensor = torch.ones(2, 2)
    assert whole(tensor) is tensor
    assert like(torch.zeros(2, 2), tensor) is tensor
