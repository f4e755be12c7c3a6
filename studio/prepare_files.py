"""`python -m studio.prepare_files RUN`: make a run's data of the files that its job names, as the first part of it.

What is asked for is plain data in the job: {"paths": [files and folders], "tokenizer": folder or None,
"vocab_size": pieces of a vocabulary to learn instead or None, and the options of PrepareConfig}. Without a tokenizer it
is that of the run's base. Progress goes to stdout as JSON rows.
"""

import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from core.config.prepare_config import PrepareConfig
from core.config.train_config import TrainConfig
from core.data.prepare import check_paths, prepare
from core.data.sample import sample_texts
from core.data.tokenizer import Tokenizer
from core.errors import ConfigError
from core.model.folder import find_model
from core.parallel.program import print_row, run_to_end
from studio.job_folder import JobFolder

SAMPLE_CHARS = 100_000_000
ROW_INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """Which files, which tokenizer and how."""

    paths: list[Path]
    tokenizer: str | None
    vocab_size: int | None
    config: PrepareConfig

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Request":
        """Raises: ConfigError for what is missing or not known."""
        options = dict(values)
        paths = options.pop("paths", None)
        if not isinstance(paths, list | tuple) or not paths:
            raise ConfigError("No file is named to learn from.", "Choose at least one file or folder.")
        tokenizer, vocab_size = options.pop("tokenizer", None), options.pop("vocab_size", None)
        return cls([Path(path) for path in paths], tokenizer, vocab_size, PrepareConfig.from_dict(options))


def check_prepare(values: Mapping[str, Any], config: TrainConfig) -> dict[str, Any]:
    """What is asked for with absolute paths.

    Raises what can be known before any work: ConfigError for settings, DataError for files that are not there.
    """
    request = Request.from_dict(values)
    if request.tokenizer is None and request.vocab_size is None and config.base is None:
        raise ConfigError(
            "A model that starts from nothing needs a tokenizer.", "Choose one, or the size of a vocabulary to learn."
        )
    check_paths(request.paths, Path(config.output) / "data")
    return {**values, "paths": [str(path.absolute()) for path in request.paths]}


def main() -> int:
    folder = JobFolder(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, _end)
    return run_to_end(lambda: _prepare(folder))


def _prepare(folder: JobFolder) -> None:
    request = Request.from_dict(folder.read_spec().prepare or {})
    files = check_paths(request.paths, folder.data)
    if request.vocab_size is not None:
        tokenizer = Tokenizer.train(sample_texts(files, SAMPLE_CHARS), vocab_size=request.vocab_size)
    else:
        base = request.tokenizer or TrainConfig.from_json(folder.config).base
        assert base is not None
        tokenizer = Tokenizer.load(find_model(base))
    prepare(request.paths, folder.data, tokenizer, request.config, progress=_Rows().show)


class _Rows:
    """One row a second of what was read."""

    def __init__(self) -> None:
        self._told, self._phase = 0.0, ""

    def show(self, phase: str, done: int, total: int) -> None:
        if phase == self._phase and time.monotonic() - self._told < ROW_INTERVAL_S:
            return
        self._told, self._phase = time.monotonic(), phase
        print_row({"preparing": phase, "done": done, "total": total})


def _end(number: int, frame: FrameType | None) -> None:
    """Leave by an exception, so that what was begun is removed."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    raise SystemExit(main())
