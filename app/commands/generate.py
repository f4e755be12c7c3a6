"""Continue a text, given as words or on standard input; or answer a file of prompts.

python launch.py generate "Once upon a time" --max-new-tokens 32
python launch.py generate --input prompts.jsonl --output answers.jsonl

The file has a JSON object on each line: {"prompt": …} or {"messages": […]}, with "id" and options as "temperature"
beside it. Answers come in the same order, one a line; a row that cannot be used gets its error. Started again, it
goes on after the last row that is there.
"""

import contextlib
import json
import signal
import sys
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.commands.model_option import add_model_options, open_model
from app.commands.train import time_to_go
from core.config.param_config import SamplingConfig
from core.config.schema import add_options, given_options
from core.errors import ConfigError

if TYPE_CHECKING:
    from core.inference.batch import BatchProgress

EXIT_INTERRUPTED = 130
QUIET_LINE_S = 15.0


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("prompt", nargs="?", help="the text to continue (default: standard input)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with text and counts")
    parser.add_argument("--input", type=Path, metavar="FILE.jsonl", help="answer the prompts in this file instead")
    parser.add_argument("--output", type=Path, metavar="FILE.jsonl", help="file for the answers to --input")
    add_model_options(parser)
    add_options(parser, SamplingConfig)


def run(arguments: Namespace) -> int:
    if arguments.input is not None or arguments.output is not None:
        return _run_file(arguments)
    prompt = sys.stdin.read() if arguments.prompt is None else arguments.prompt
    with contextlib.closing(open_model(arguments)) as model:
        stream = model.stream(prompt, **given_options(arguments, SamplingConfig))
        for piece in stream:
            if not arguments.json:
                print(piece, end="", flush=True)
    if arguments.json:
        result = {"text": stream.text, "finish_reason": stream.finish_reason, **asdict(stream.stats)}
        print(json.dumps(result, ensure_ascii=False))
    elif stream.text:
        print()
    else:
        sys.stderr.write("The model takes this text as finished and adds nothing. Try again, or another --seed.\n")
    return 0


def _run_file(arguments: Namespace) -> int:
    from core.inference.batch import check_files, generate_file, weights_identity
    from core.model.folder import find_model

    _check(arguments)
    check_files(arguments.input, arguments.output)
    shown, sampling = Progress(), given_options(arguments, SamplingConfig)
    with contextlib.closing(open_model(arguments)) as model, _ctrl_c() as stopping, contextlib.closing(shown):
        state = generate_file(
            model,
            arguments.input,
            arguments.output,
            sampling=sampling,
            identity=weights_identity(find_model(arguments.model)),
            progress=shown.show,
            stopping=stopping,
        )
    if state.num_done < state.num_rows:
        rows = f"{state.num_done:,} of {state.num_rows:,} rows"
        sys.stderr.write(f"\nStopped, {rows} are in {arguments.output}. The same command goes on.\n")
        return EXIT_INTERRUPTED
    errors = f", {state.num_errors:,} of them with an error" if state.num_errors else ""
    new = state.num_done - state.num_resumed
    print(f"{arguments.output} has {state.num_done:,} rows: {state.num_resumed:,} were there, {new:,} are new{errors}.")
    return 0


@contextlib.contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Ctrl-C sets the event; a second one interrupts as ever."""
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        signal.signal(signal.SIGINT, earlier)

    earlier = signal.signal(signal.SIGINT, stop)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, earlier)


def _check(arguments: Namespace) -> None:
    """Raises ConfigError for words that do not go together."""
    if arguments.input is None or arguments.output is None:
        missing = "--input" if arguments.input is None else "--output"
        raise ConfigError(f"{missing} is missing.", "--input and --output go together.")
    if arguments.prompt is not None or arguments.json:
        raise ConfigError("A prompt and --json do not go with --input.", "Leave them out.")


class Progress:
    """A bar with rows/s and time to go on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._drawn_s = time.monotonic()

    def show(self, state: "BatchProgress") -> None:
        """Show how far it is."""
        if sys.stderr.isatty():
            if self._bar is None:
                from tqdm import tqdm

                self._bar = tqdm(total=state.num_rows, initial=state.num_done, unit="row")
            self._bar.update(state.num_done - self._bar.n)
        elif time.monotonic() - self._drawn_s >= QUIET_LINE_S:
            self._drawn_s = time.monotonic()
            to_go = f", {time_to_go(state.eta_s)} to go" if state.eta_s is not None else ""
            sys.stderr.write(f"{state.num_done:,} of {state.num_rows:,} rows, {state.rows_per_s:.2f} rows/s{to_go}\n")

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
