"""Which runner computes a model on this machine, and how much memory its cache may take: decided here alone."""

import functools
import logging

import torch

from core import kernels
from core.inference.runner import BLOCK_TOKENS, Runner, num_blocks_for
from core.inference.scheduler import EngineConfig
from core.inference.torch_runner import TorchRunner
from core.model.device import free_memory_bytes
from core.model.paged_cache import cache_bytes
from core.model.quantize import QuantizedLinear
from core.model.transformer import Transformer

logger = logging.getLogger(__name__)

# Of the memory that is free, for the cache. Blocks that no text ever reached take none on a CPU.
CACHE_MEMORY_SHARE = 0.25
KV_DTYPES = {"fp16": torch.float16, "int8": torch.int8}


def runner_for(model: Transformer, config: EngineConfig) -> Runner:
    """A runner with blocks for max_running texts of max_seq_len tokens, or as many as the memory allows."""
    norm = model.model.norm.weight
    is_quantised = isinstance(model.lm_head, QuantizedLinear)  # others need no kernels, which may have to be compiled
    if norm.device.type == "cpu" and is_quantised and kernels_work():
        from core.inference.kernel_runner import KernelRunner, can_run

        if can_run(model):
            kv_dtype = KV_DTYPES[config.kv_cache]
            num_blocks = _num_blocks(model, config, kv_dtype)
            return KernelRunner(
                model, num_blocks=num_blocks, num_threads=torch.get_num_threads(), kv_bits=8 * kv_dtype.itemsize
            )
        logger.warning("the kernels do not take this model's widths: it runs on torch, slower")
    if config.kv_cache != "fp16":
        logger.warning("the keys and values are %s: %s needs the CPU's kernels", norm.dtype, config.kv_cache)
    return TorchRunner(model, _num_blocks(model, config, norm.dtype))


def kernels_need_compiling() -> bool:
    """Whether the first quantised model on this machine will wait for its kernels, some 15 seconds."""
    if not kernels.are_available():
        return False
    from core.kernels.variant import is_compiled

    return not is_compiled()


@functools.cache
def kernels_work() -> bool:
    """Whether the CPU's kernels are there and right on this processor; a log line says so where they are not.

    The first call on a machine compiles them, which takes some seconds.
    """
    if not kernels.are_available():
        logger.warning("there are no kernels (numba is missing or turned off): quantised models run on torch, slower")
        return False
    from core.inference.kernel_check import largest_error
    from core.kernels.variant import VARIANT

    error = largest_error()
    if not error < MAX_KERNEL_ERROR:
        logger.warning("the %s kernels are wrong here (error %.3g): quantised models run on torch", VARIANT, error)
        return False
    return True


# Rounding activations to bytes moves the logits of the check's model by 0.02 of their norm.
MAX_KERNEL_ERROR = 0.05


def _num_blocks(model: Transformer, config: EngineConfig, dtype: torch.dtype) -> int:
    block_bytes = cache_bytes(model.config, BLOCK_TOKENS, dtype)
    affordable = int(free_memory_bytes(model.model.norm.weight.device) * CACHE_MEMORY_SHARE) // block_bytes
    one_text = num_blocks_for(config.max_seq_len)
    return max(one_text, min(config.max_running * one_text, affordable))
