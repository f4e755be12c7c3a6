"""How much of the machine a run uses: floating-point operations of a token, and the most this device does in a second.

On a CPU the most is the best fp32 product of square matrices that was measured here; on a GPU it is the maker's dense
bf16 figure, as the literature counts model FLOP utilisation (MFU), and where the chip is unknown a measured product.
"""

import functools
import time

import torch

from core.config.model_config import ModelConfig

# Dense bf16 FLOP/s by the device's name, the first that is part of it (makers' data sheets).
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "RTX 3090": 71e12}
PROBE_SIZE, PROBE_REPEATS = {"cpu": 1024, "cuda": 2048}, 8


def train_flops_per_token(config: ModelConfig, seq_len: int, *, trains_base: bool = True) -> float:
    """Forward and backward: 6 N of the matrices, without the embedding's look-up, and 12 L H D T of attention.

    With a frozen base (adapters) the weights' own gradients fall away: 4 N. The causal half is not taken off.
    Source: Chowdhery et al. 2022, appendix B.
    """
    embedding = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    matrices = config.num_parameters - embedding
    attention = 12 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * seq_len
    return (6 if trains_base else 4) * matrices + attention


@functools.cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The most FLOP/s of this device in this arithmetic."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
        if known is not None and dtype == torch.bfloat16:
            return known
    return measured_flops(device, dtype, PROBE_SIZE.get(device.type, PROBE_SIZE["cuda"]))


def measured_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """FLOP/s of a product of square matrices, best of some; their memory is not the run's, and given back."""
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(PROBE_REPEATS):
        start = time.perf_counter()
        product = left @ right
        if device.type != "cpu":
            product[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    if device.type == "cuda":
        del left, right, product
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return 2 * size**3 / best
