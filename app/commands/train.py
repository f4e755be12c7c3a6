"""Train a model: one stage, from options or from the JSON of an earlier run.

python launch.py train --stage pt --data DATASET --output RUN
python launch.py train --stage sft --base RUN --data DATASET --output RUN2
python launch.py train --config RUN/config.json --resume
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from core.config.schema import add_arguments as add_config_arguments
from core.config.schema import given_options, read_json_object
from core.config.train_config import TrainConfig


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, help="JSON file with options; those given here come before it")
    parser.add_argument("--resume", action="store_true", help="go on from the run's newest checkpoint")
    add_config_arguments(parser, TrainConfig)


def run(arguments: Namespace) -> int:
    values = given_options(arguments, TrainConfig)
    if arguments.config:
        values = {**read_json_object(arguments.config), **values}
    config = TrainConfig.from_dict(values)
    import core

    progress = Progress()
    folder = core.train(config, resume=arguments.resume, report=progress.show)
    progress.close()
    print(f"The model is in {folder}. Chat with it: python launch.py chat --model {config.output}")
    return 0


class Progress:
    """A bar with tokens/s and time to go on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._validation = ""

    def show(self, row: dict[str, Any]) -> None:
        if "validation_loss" in row:
            bits = row.get("validation_bits_per_byte")
            self._validation = f"validation {row['validation_loss']:.3f}" + (f" ({bits:.3f} bits/byte)" if bits else "")
            self._line(f"step {row['step']}: {self._validation}")
            return
        text = f"loss {row['loss']:.3f}, {row['tokens_per_s']:,.0f} tokens/s"
        if not sys.stderr.isatty():
            minutes = row["eta_s"] / 60
            print(f"step {row['step']}/{row['num_steps']}: {text}, {minutes:.1f} min to go", flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=row["num_steps"], initial=row["step"], unit="step")
        self._bar.update(row["step"] - self._bar.n)
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)
