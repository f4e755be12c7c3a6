"""Train a model: one stage, from options or from the JSON of an earlier run.

python launch.py train --stage pt --data DATASET --output RUN
python launch.py train --stage sft --from RUN --data DATASET --output RUN2
python launch.py train --output RUN --resume
python launch.py train --nproc 2 … (also with --resume): on two processes, docs/training-on-many.md
python launch.py train --detach … (without --output): as a run of the studio, which goes on when this terminal closes
"""

import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import Any

from app.commands import PROGRAM
from app.many_processes import Job, train_on_many
from app.paths import studio_dir
from core.config.schema import add_options, given_options
from core.config.train_config import TrainConfig
from core.errors import ConfigError, TrainingError
from core.files import read_json_object
from core.model.folder import is_reward_model

# Of a validation of what is learnt from rewards, those that are shown.
RL_FIGURES = ("reward", "kl", "entropy", "length")
# Below this a run hardly changes a model.
FEW_STEPS = 50


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="JSON file with options; those given here win")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of the run in --output")
    parser.add_argument("--from", dest="base", default=SUPPRESS, metavar="RUN", help="the same as --base")
    studio = parser.add_argument_group("as a run of the studio")
    studio.add_argument("--detach", action="store_true", help="run on without this terminal; see `runs`")
    studio.add_argument("--queue", action="store_true", help="with --detach: wait until the runs before it have ended")
    studio.add_argument("--name", default="", help="with --detach: what to call the run")
    many = parser.add_argument_group("many processes")
    many.add_argument("--nproc", type=positive, metavar="N", help="processes on this machine, one for each GPU")
    many.add_argument("--nodes", type=positive, default=1, metavar="N", help="machines, each with the same command")
    many.add_argument("--rendezvous", metavar="HOST:PORT", help="where the machines meet: one of them, a free port")
    many.add_argument("--max-restarts", type=int, default=0, metavar="N", help="go on after so many failures")
    add_options(parser, TrainConfig)


def run(arguments: Namespace) -> int:
    values = given_options(arguments, TrainConfig)
    if arguments.detach:
        return detach(arguments, values)
    if arguments.queue or arguments.name:
        raise ConfigError("--queue and --name are for runs of the studio.", "Add --detach.")
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
    with closing(Progress()) as progress:
        return train(config, arguments, progress)


def train(config: TrainConfig, arguments: Namespace, progress: "Progress") -> int:
    """Train in this process, or in as many as are asked for; returns the exit status."""
    if arguments.nproc is None and arguments.nodes == 1:
        import core

        folder = core.train(config, resume=arguments.resume, report=progress.show)
        progress.show({"result": str(folder)})
        return 0
    if arguments.nodes > 1 and not arguments.rendezvous:
        raise ConfigError(f"{arguments.nodes} machines must meet somewhere.", "Give --rendezvous HOST:PORT.")
    job = Job(arguments.nproc or 1, arguments.nodes, arguments.rendezvous, arguments.max_restarts)
    return train_on_many(config, job, resume=arguments.resume, show=progress.show)


def detach(arguments: Namespace, values: dict[str, Any]) -> int:
    """Start a run of the studio, or put it into its queue, and leave."""
    from app.commands.run_argument import open_store
    from studio import JobState, start

    if arguments.resume:
        raise ConfigError("--resume and --detach do not go together.", f"Use `{PROGRAM} resume RUN`.")
    if "output" in values:
        raise ConfigError(
            f"A run of the studio has its own folder in {studio_dir()}.", "Leave out --output, or --detach."
        )
    if arguments.nodes > 1:
        raise ConfigError("A run of the studio is on this machine alone.", "Leave out --nodes, or --detach.")
    if arguments.config:
        values = {**read_json_object(arguments.config), **values}
    config = TrainConfig.from_dict({**values, "output": str(studio_dir() / "runs")})
    job = start(
        open_store(),
        config,
        name=arguments.name,
        nproc=arguments.nproc or 1,
        max_restarts=arguments.max_restarts,
        queued=arguments.queue,
    )
    print(f"{job.id} {'waits in the queue' if job.state is JobState.QUEUED else 'has started'}: {job.folder}")
    print(f"Follow it: {PROGRAM} tail {job.id}    Stop it: {PROGRAM} stop {job.id}")
    return 0


def positive(text: str) -> int:
    """A whole number from 1 on, for argparse."""
    if int(text) < 1:
        raise ValueError
    return int(text)


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
        if "result" in row:
            self._line(result_line(Path(row["result"])))
            return
        if "sample" in row:
            self._line(f"step {row['step']}: {row['sample']['prompt']} → {row['sample']['text']}")
            return
        if any(name.startswith("validation_") for name in row):
            self._line(f"step {row['step']}: validation {validation_text(row)}")
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


def validation_text(row: dict[str, Any]) -> str:
    """The loss or in RL the reward, and what it means where that can be said: bits per byte, pairs told apart."""
    bits, accuracy = row.get("validation_bits_per_byte"), row.get("validation_accuracy")
    in_bits = f" ({bits:.3f} bits/byte)" if bits is not None else ""
    in_pairs = f" ({accuracy:.1%} of the pairs the right way round)" if accuracy is not None else ""
    if "validation_loss" in row:
        return f"{row['validation_loss']:.3f}{in_bits}{in_pairs}"
    return ", ".join(f"{name} {row[f'validation_{name}']:.3f}" for name in RL_FIGURES if f"validation_{name}" in row)


def result_line(folder: Path) -> str:
    """Where the model is, or the checkpoint of a run that was stopped."""
    if folder.name == "model" and is_reward_model(folder):
        return f"The reward model is in {folder}. Ask it: {PROGRAM} eval --reward-model {folder.parent}"
    if folder.name == "model":
        return f"The model is in {folder}. Chat with it: {PROGRAM} chat --model {folder.parent}"
    run = folder.parent.parent
    return f"Stopped; the checkpoint is {folder}. Go on: {PROGRAM} train --output {run} --resume"


def time_to_go(seconds: float) -> str:
    """`40 s`, `12.5 min`, `3.1 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
