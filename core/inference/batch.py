"""A file of prompts to a file of answers: several at once, in order, and the same whether or not it was interrupted.

Row number i is drawn with the seed of the batch plus i, so an answer depends on nothing but its row. Rows are read
as they are needed and answers written as they come: memory does not grow with the file.
"""

import contextlib
import hashlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.param_config import SamplingConfig
from core.errors import AssistantError, BusyError, ConfigError, GenerationError
from core.inference.batch_output import BatchOutput, open_output
from core.inference.batch_rows import Row, Survey, read_rows, survey

if TYPE_CHECKING:
    from core.inference.generator import LanguageModel, TokenStream

MAX_SEED = 2**63


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is. `num_resumed` rows were there before; the rate is of this run."""

    num_done: int
    num_rows: int
    num_resumed: int
    num_errors: int
    rows_per_s: float
    eta_s: float | None


def check_files(source: Path, target: Path) -> Survey:
    """Look at a batch's files before a model is loaded for it. Raises DataError, ConfigError."""
    if target.resolve() == source.resolve() or (target.exists() and source.exists() and target.samefile(source)):
        raise ConfigError(f"The output is the input, {source}.", "Choose another file to write.")
    return survey(source)


def generate_file(  # noqa: PLR0913 - two files, and how and for whom
    model: "LanguageModel",
    source: Path,
    target: Path,
    *,
    sampling: Mapping[str, Any],
    identity: str = "",
    progress: Callable[[BatchProgress], None] = lambda _: None,
    stopping: threading.Event | None = None,
) -> BatchProgress:
    """Answer every row of `source` (see `batch_rows`) in a line of `target`, and give the last progress.

    `identity` tells the model's weights from others (see `weights_identity`): a batch goes on with none but its own.
    When `stopping` is set it ends within about a token, without the rows that are under way.

    A line has `index`, the row's `id` if it has one, and `text`, `finish_reason` and `usage`, or `line` and `error`.
    Raises: DataError for a file that cannot be read or written, ConfigError for one of another batch, ModelError.
    """
    seen = check_files(source, target)
    options = SamplingConfig.from_dict({**model.sampling.to_dict(), **sampling})
    job = {"input": seen.sha256, "sampling": options.to_dict(), "model": {"weights": identity, **_settings(model)}}
    drawn = secrets.randbelow(MAX_SEED) if options.seed is None else options.seed
    with open_output(target, job, {"seed": drawn}) as output:
        progress_of = _Progress(seen.num_rows, output.num_rows, progress)
        batch = _Batch(model, dict(sampling), output, progress_of, stopping or threading.Event())
        try:
            for row in read_rows(source, output.num_rows):
                if not batch.add(row):
                    break
            batch.finish()
        finally:
            batch.cancel()
    return progress_of.state()


class _Batch:
    """The rows that are under way, in order."""

    def __init__(
        self,
        model: "LanguageModel",
        sampling: dict[str, Any],
        output: BatchOutput,
        progress: "_Progress",
        stopping: threading.Event,
    ) -> None:
        self._model, self._sampling, self._output = model, sampling, output
        self._progress, self._stopping = progress, stopping
        self._num_streams = 2 * model.engine.config.max_running  # some wait, so that no slot is ever empty
        self._pending: deque[tuple[Row, TokenStream | str]] = deque()

    def add(self, row: Row) -> bool:
        """Start a row, unless it is to stop; where there are enough, wait for the oldest first."""
        while not self._stopping.is_set():
            if len(self._pending) < self._num_streams:
                try:
                    self._pending.append((row, self._start(row)))
                except BusyError:
                    if not self._pending:
                        raise
                else:
                    return True
            self._finish_oldest()
        return False

    def finish(self) -> None:
        """Wait for all of them."""
        while self._pending and not self._stopping.is_set():
            self._finish_oldest()

    def cancel(self) -> None:
        """Stop what is still under way, and wait for it.

        Without that a thread is in the middle of a token when Python ends, and the process is aborted.
        """
        streams = [stream for _, stream in self._pending if not isinstance(stream, str)]
        for stream in streams:
            stream.cancel()
        for stream in streams:
            with contextlib.suppress(AssistantError):
                stream.read()

    def _start(self, row: Row) -> "TokenStream | str":
        """The row's stream, or what is wrong with it."""
        if row.error is not None:
            return row.error
        seed = (self._output.job["seed"] + row.index) % MAX_SEED
        options = {**self._sampling, "seed": seed, **(row.options or {})}
        try:
            if row.prompt is None:
                return self._model.chat(row.messages, **options)
            return self._model.stream(row.prompt, **options)
        except BusyError:
            raise
        except AssistantError as exc:
            return str(exc)

    def _finish_oldest(self) -> None:
        row, stream = self._pending.popleft()
        answer = self._answer(row, stream)
        if answer is not None:
            self._output.write(({} if row.id is None else {"id": row.id}) | answer)
            self._progress.step(is_error="error" in answer)

    def _answer(self, row: Row, stream: "TokenStream | str") -> dict[str, Any] | None:
        """The row's line, or None when it is to stop before the row ends."""
        if isinstance(stream, str):
            return {"line": row.line, "error": stream}
        try:
            for _ in stream:
                if self._stopping.is_set():
                    stream.cancel()
        except GenerationError as exc:
            return {"line": row.line, "error": str(exc)}
        if self._stopping.is_set():
            return None
        usage = {"prompt_tokens": stream.stats.prompt_tokens, "completion_tokens": stream.stats.completion_tokens}
        return {"text": stream.text, "finish_reason": stream.finish_reason, "usage": usage}


def weights_identity(path: Path) -> str:
    """Short text that changes with the weights of a model folder or GGUF file: their names, sizes and times."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _settings(model: "LanguageModel") -> dict[str, Any]:
    """What else an answer depends on. How many run at once is not among it."""
    return {
        "parameters": model.num_parameters,
        "quantization": model.quantization,
        "backend": model.backend,
        "kv_cache": model.engine.config.kv_cache,
        "max_seq_len": model.max_seq_len,
    }


class _Progress:
    def __init__(self, num_rows: int, num_resumed: int, tell: Callable[[BatchProgress], None]) -> None:
        self._num_rows, self._num_resumed, self._tell = num_rows, num_resumed, tell
        self._num_new = self._num_errors = 0
        self._started_s = time.monotonic()
        tell(self.state())

    def step(self, *, is_error: bool) -> None:
        """One more row is done."""
        self._num_new += 1
        self._num_errors += is_error
        self._tell(self.state())

    def state(self) -> BatchProgress:
        done, elapsed_s = self._num_resumed + self._num_new, time.monotonic() - self._started_s
        rate = self._num_new / elapsed_s if elapsed_s > 0 else 0.0
        eta_s = (self._num_rows - done) / rate if rate > 0 else None
        return BatchProgress(done, self._num_rows, self._num_resumed, self._num_errors, rate, eta_s)
