"""`python -m core.trainer RUN/config.json [--resume]`: one run in its own process, or one rank of it under torchrun.

A rank that torchrun has started again goes on from the newest checkpoint, where there is one.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from core.config.train_config import TrainConfig
from core.errors import AssistantError
from core.parallel.failure import Cause, own_cause, record_cause
from core.parallel.setup import join_ranks
from core.trainer import train


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--report", action="store_true", help="print the plan and every row of metrics as JSON lines")
    arguments = parser.parse_args()
    try:
        config = TrainConfig.from_json(arguments.config)
        with join_ranks(config.device) as ranks:
            train(
                config,
                resume=arguments.resume,
                restart=os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0",
                ranks=ranks,
                report=_print if arguments.report else None,
            )
    except AssistantError as exc:
        record_cause(Cause(str(exc), is_root=True))
        return 1
    except Exception as exc:
        record_cause(own_cause(int(os.environ.get("RANK", "0")), exc))
        raise
    return 0


def _print(row: dict[str, Any]) -> None:
    sys.stdout.write(f"{json.dumps(row)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
