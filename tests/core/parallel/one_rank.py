"""One rank on a device: DDP and FSDP2, a sum on the device and one beside it. On a GPU this is NCCL."""

import sys

import torch
from torch import nn

from core.parallel.failure import end_rank
from core.parallel.setup import join_ranks
from core.parallel.wrap import wrap


def main() -> None:
    with join_ranks(sys.argv[1]) as ranks:
        device = ranks.device(sys.argv[1])
        for kind in ("ddp", "fsdp"):
            model = nn.Linear(4, 4).to(device)
            parallel = wrap({"": model}, ranks, kind, dtype=torch.bfloat16)
            parallel.run(model, torch.ones(1, 4, device=device)).sum().backward()
            assert model.weight.grad is not None
        total = ranks.sum_(torch.tensor([3.0], device=device))
        sys.stdout.write(f"{ranks.total(1)} {total.device} {total.item()}\n")
    end_rank()


if __name__ == "__main__":
    main()
