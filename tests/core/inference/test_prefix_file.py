"""Prefixes on their way into the blocks."""

import pytest
import torch

from core.inference.prefix_file import write_blocks
from core.inference.runner import BLOCK_TOKENS
from core.inference.scheduler import EngineConfig, Scheduler
from tests.core.inference.arithmetic_runner import ArithmeticRunner


def test_a_block_that_cannot_be_written_costs_no_block() -> None:
    scheduler = Scheduler(ArithmeticRunner(8), EngineConfig(max_seq_len=64))
    content = torch.zeros(2, 12, dtype=torch.uint8)  # no whole words, as the runner wants
    with pytest.raises(RuntimeError):
        write_blocks(scheduler, range(2 * BLOCK_TOKENS), content)
    assert scheduler.pool.num_free == 8
