"""`python -m core.trainer RUN/config.json [--resume]`: one run in its own process, or one rank of it under torchrun.

A rank that torchrun has started again goes on from the newest checkpoint, where there is one; with --continue every
start does.
"""

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig
from core.parallel.program import print_row, run_to_end
from core.parallel.setup import join_ranks
from core.trainer import train


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--continue", dest="restart", action="store_true", help="resume if there is a checkpoint")
    parser.add_argument("--report", action="store_true", help="print the plan, metrics and the end as JSON lines")
    arguments = parser.parse_args()
    report = print_row if arguments.report else None

    def work() -> None:
        config = TrainConfig.from_json(arguments.config)
        run_rank(config, resume=arguments.resume, restart=arguments.restart, report=report)

    return run_to_end(work)


def run_rank(
    config: TrainConfig, *, resume: bool, restart: bool = False, report: Callable[[dict[str, Any]], None] | None
) -> None:
    """Join the other ranks and train; the first one reports."""
    is_restart = restart or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    with join_ranks(config.device) as ranks:
        if not ranks.is_first:
            logging.disable(logging.WARNING)  # every rank would say the same
        folder = train(config, resume=resume, restart=is_restart, ranks=ranks, report=report)
    if ranks.is_first and report:
        report({"result": str(folder)})


if __name__ == "__main__":
    raise SystemExit(main())
