"""One of two ranks in a process that a test forks: it trains, and at a step it may kill itself."""

import os
import signal
from typing import Any
from unittest.mock import patch

import torch

from core.config.train_config import TrainConfig
from core.parallel.failure import EXIT_LOST, end_rank
from core.parallel.setup import join_ranks
from core.trainer import train
from core.trainer.callbacks import CheckpointCallback, StepResult
from core.trainer.trainer import Trainer
from tests.core.trainer.rank_program import save_every_second_step


def run(rank: int, port: int, options: dict[str, Any], killed_at: int | None, error_file: str) -> None:
    """Train as this rank of two, from the newest checkpoint where there is one; end by SIGKILL before `killed_at`."""
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_ERROR_FILE": error_file,
    }  # fmt: skip
    torch.set_num_threads(1)
    step = Trainer.step

    def ending(trainer: Trainer) -> StepResult:
        if trainer.context.step == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(trainer)

    try:
        with (
            patch.object(CheckpointCallback, "after_step", save_every_second_step),
            patch.object(Trainer, "step", ending),
            join_ranks("cpu") as ranks,
        ):
            train(TrainConfig.from_dict(options), restart=True, ranks=ranks)
    except Exception:  # noqa: BLE001 - told to the other rank and to the error file already
        os._exit(EXIT_LOST)
    end_rank()
