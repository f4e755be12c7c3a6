"""`python -m core.trainer RUN/config.json [--resume]`: one run in a process of its own."""

import argparse
import sys
from pathlib import Path

from core.config.train_config import TrainConfig
from core.errors import AssistantError
from core.trainer import train


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    try:
        train(TrainConfig.from_json(arguments.config), resume=arguments.resume)
    except AssistantError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
