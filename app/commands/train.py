"""Train a model: one stage, from options or from the JSON of an earlier run.

python launch.py train --stage pt --data DATASET --output RUN
python launch.py train --stage sft --from RUN --data DATASET --output RUN2
python launch.py train --output RUN --resume
"""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import Any

from app.commands import PROGRAM
from core.config.schema import add_options, given_options
from core.config.train_config import TrainConfig
from core.errors import ConfigError, TrainingError
from core.files import read_json_object

# Below this a run hardly changes a model.
FEW_STEPS = 50


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file with options; those given here win")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of the run in --output")
    parser.add_argument("--from", dest="base", default=SUPPRESS, metavar="RUN", help="the same as --base")
    add_options(parser, TrainConfig)


def run(arguments: Namespace) -> int:
    values = given_options(arguments, TrainConfig)
    if arguments.resume and "base" in values:
        raise ConfigError(
            f"--resume goes on with the run in --output, --from {values['base']} would start another one.",
            "Leave one of them out.",
        )
    begun = Path(values["output"]) / "config.json" if arguments.resume and "output" in values else None
    if begun and not arguments.config and not begun.exists():
        raise TrainingError(f"{values['output']} holds no run to resume.", "Check the folder's name.")
    if source := arguments.config or begun:
        values = {**read_json_object(source), **values}
    config = TrainConfig.from_dict(values)
    import core

    with closing(Progress()) as progress:
        folder = core.train(config, resume=arguments.resume, report=progress.show)
    if folder.parent == Path(config.output):
        print(f"The model is in {folder}. Chat with it: {PROGRAM} chat --model {config.output}")
    else:
        print(f"Stopped; the checkpoint is {folder}. Go on: {PROGRAM} train --output {config.output} --resume")
    return 0


class Progress:
    """A bar with tokens/s and time to go on a terminal, lines elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None

    def show(self, row: dict[str, Any]) -> None:
        """Show the plan, one row of metrics or of validation, or that the run is stopping."""
        if "num_parameters" in row:
            self._line(plan_line(row))
            return
        if "stopping" in row:
            self._line("Finishing this step and saving a checkpoint. Ctrl-C again ends at once, without one.")
            return
        if "sample" in row:
            self._line(f"step {row['step']}: {row['sample']['prompt']} → {row['sample']['text']}")
            return
        if "validation_loss" in row:
            bits = row.get("validation_bits_per_byte")
            in_bits = f" ({bits:.3f} bits/byte)" if bits is not None else ""
            self._line(f"step {row['step']}: validation {row['validation_loss']:.3f}{in_bits}")
            return
        text = f"loss {row['loss']:.3f}, {row['tokens_per_s']:,.0f} tokens/s, {time_to_go(row['eta_s'])} to go"
        if not sys.stderr.isatty():
            print(f"step {row['step']}/{row['num_steps']}: {text}", flush=True)
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


def plan_line(row: dict[str, Any]) -> str:
    """What is about to be trained; the first figures come with the first step."""
    steps = row["num_steps"] - row["first_step"]
    few = " That is very few: raise --epochs, or give more data." if row["num_steps"] < FEW_STEPS else ""
    left_out = "".join(f" {problem}." for problem in row["left_out"])
    return (
        f"Training {row['num_parameters'] / 1e6:.1f}M parameters on {row['device']}: {steps:,} steps of"
        f" {row['rows_per_step']} rows of {row['row_tokens']} tokens.{left_out}{few}"
    )


def time_to_go(seconds: float) -> str:
    """`40 s`, `12.5 min`, `3.1 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
