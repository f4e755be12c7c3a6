"""Which arithmetic a run uses: fp32, or bf16 in the matrix products with fp32 weights.

On a GPU bf16 is right. On a CPU it depends on the chip: with AVX-512-BF16 or AMX its products are
several times faster, without them several times slower; so it is measured once, in milliseconds.
"""

import time

import torch

SPEEDUP_NEEDED = 1.5


def resolve_precision(precision: str, device: torch.device) -> torch.dtype:
    """float32 or bfloat16. `auto` takes bf16 on CUDA, and on a CPU where a product shows it faster."""
    if precision == "auto":
        fast = device.type == "cuda" or (device.type == "cpu" and bf16_speedup() >= SPEEDUP_NEEDED)
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def bf16_speedup(size: int = 512, repeats: int = 5) -> float:
    """Time of an fp32 matrix product over that of a bf16 one on this CPU, best of `repeats`."""
    return _product_s(torch.float32, size, repeats) / _product_s(torch.bfloat16, size, repeats)


def _product_s(dtype: torch.dtype, size: int, repeats: int) -> float:
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        left @ right
        times.append(time.perf_counter() - start)
    return min(times[1:])
