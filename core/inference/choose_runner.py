"""Which runner computes a model on this machine, and how much memory its cache may take: decided here alone."""

from core.inference.runner import BLOCK_TOKENS, Runner, num_blocks_for
from core.inference.scheduler import EngineConfig
from core.inference.torch_runner import TorchRunner
from core.model.device import free_memory_bytes
from core.model.kv_cache import cache_bytes
from core.model.transformer import Transformer

# Of the memory that is free, for the cache. Blocks that no text ever reached take none on a CPU.
CACHE_MEMORY_SHARE = 0.25


def runner_for(model: Transformer, config: EngineConfig) -> Runner:
    """A runner with blocks for max_running texts of max_seq_len tokens, or as many as the memory allows."""
    norm = model.model.norm.weight
    block_bytes = cache_bytes(model.config, 1, BLOCK_TOKENS, norm.dtype)
    affordable = int(free_memory_bytes(norm.device) * CACHE_MEMORY_SHARE) // block_bytes
    one_text = num_blocks_for(config.max_seq_len)
    return TorchRunner(model, max(one_text, min(config.max_running * one_text, affordable)))
