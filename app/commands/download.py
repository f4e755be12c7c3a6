"""Fetch a model from the hub; an interrupted download goes on where it stopped.

python launch.py download OWNER/NAME
python launch.py download OWNER/NAME --revision v1.0 --to models/mine
python launch.py download OWNER/NAME --file NAME-Q4_0.gguf

HF_ENDPOINT names another hub than huggingface.co; HF_TOKEN is the key for private and gated models.
"""

import sys
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from app.commands import PROGRAM
from app.commands.train import time_to_go

if TYPE_CHECKING:
    from core.hub import DownloadProgress

QUIET_LINE_S = 15.0
NOTEWORTHY_BYTES = 1_000_000
EXIT_INTERRUPTED = 130


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="OWNER/NAME", help="the model's name on the hub")
    parser.add_argument("--revision", help="branch, tag or commit (default: the newest)")
    parser.add_argument("--file", metavar="FILE.gguf", help="one GGUF file instead of the safetensors model")
    parser.add_argument("--to", metavar="FOLDER", help="folder to put it in (default: the data folder's models)")
    parser.add_argument("--update", action="store_true", help="ask whether there is a newer one than the one here")


def run(arguments: Namespace) -> int:
    import core
    from core.hub import Watch

    name = f"{arguments.name}:{arguments.file}" if arguments.file else arguments.name
    shown = Progress(name)
    try:
        path = core.download(
            name,
            revision=arguments.revision,
            folder=arguments.to,
            update=arguments.update,
            watch=Watch(progress=shown.show),
        )
    except KeyboardInterrupt:
        shown.close()
        sys.stderr.write(f"\nStopped. {shown.kept()}The same command goes on.\n")
        return EXIT_INTERRUPTED
    finally:
        shown.close()
    here = "is in" if shown.last else "is already in"
    model = path if arguments.to else name
    print(f"{name} {here} {path}. Chat with it: {PROGRAM} chat --model {model}")
    return 0


class Progress:
    """A bar with rate and time to go on a terminal, a line now and then elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._drawn_s = 0.0
        self.last: DownloadProgress | None = None

    def show(self, state: "DownloadProgress") -> None:
        """Show how far it is; the first call also says what it is about."""
        if self.last is None:
            size = f"{state.num_files} files, {state.total_bytes / 1e6:,.1f} MB"
            had = (
                f", {state.done_bytes / 1e6:,.1f} MB of them here already"
                if state.done_bytes > NOTEWORTHY_BYTES
                else ""
            )
            print(f"Downloading {self._name}, commit {state.commit[:12]}: {size}{had}.", flush=True)
        self.last = state
        if sys.stderr.isatty():
            self._draw(state)
        elif time.monotonic() - self._drawn_s >= QUIET_LINE_S:
            self._drawn_s = time.monotonic()
            to_go = f", {time_to_go(state.eta_s)} to go" if state.eta_s is not None else ""
            share = f"{state.done_bytes / 1e6:,.1f} of {state.total_bytes / 1e6:,.1f} MB"
            sys.stderr.write(f"{share}, {state.bytes_per_s / 1e6:.1f} MB/s{to_go}\n")

    def kept(self) -> str:
        """What an interruption leaves, as a sentence."""
        if self.last is None:
            return ""
        return f"{self.last.done_bytes / 1e6:,.1f} of {self.last.total_bytes / 1e6:,.1f} MB are kept. "

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _draw(self, state: "DownloadProgress") -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=state.total_bytes, initial=state.done_bytes, unit="B", unit_scale=True)
        if state.file:
            self._bar.set_description_str(state.file[:32], refresh=False)
        self._bar.update(state.done_bytes - self._bar.n)
