"""One engine with one model in a process of its own, which does what it is told and says how long it took.

    python -m benchmarks.decoders ours FOLDER THREADS               or "ours with library"
    python -m benchmarks.decoders llama.cpp FILE.gguf THREADS

Each line in is a JSON list, a method and its arguments; each line out its result. Both engines choose the
likeliest token on the Python side, and get the same prompts of random ids.
"""

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.llama_cpp_peer import MAX_SEQ_LEN, MAX_STREAMS, LlamaCpp, prompt
from core.errors import SetupError

if TYPE_CHECKING:
    from app.library import Library
    from core.inference.sampling import Choice
    from core.model.lora import Adapter

STOP_TIMEOUT_S = 60.0


class Decoder(Protocol):
    """An engine with a model."""

    load_s: float
    weight_bytes: int

    def prefill(self, num_tokens: int, seed: int) -> float:
        """Seconds to read a prompt that nothing is known of."""

    def decode(self, context: int, num_tokens: int, streams: int) -> float:
        """Seconds for `num_tokens` steps of so many streams behind `context` tokens each."""


class Ours:
    """The engine as the product runs it: scheduler, sampler and cache of prefixes, without drafts."""

    def __init__(self, folder: str, threads: int) -> None:
        import torch

        from core.inference.choose_runner import runner_for
        from core.inference.engine import Engine
        from core.inference.scheduler import EngineConfig
        from core.model.checkpoint import load_model

        torch.set_num_threads(threads)
        started = time.perf_counter()
        model = load_model(Path(folder), dtype=torch.float32)
        config = EngineConfig(max_seq_len=MAX_SEQ_LEN, max_running=MAX_STREAMS, speculation=False)
        runner = runner_for(model, config)
        self.load_s = time.perf_counter() - started
        self.weight_bytes = runner.weight_bytes
        self._engine = Engine(runner, config)

    def add_adapter(self, name: str, adapter: "Adapter") -> None:
        """Make an adapter known."""
        self._engine.call(lambda scheduler: scheduler.runner.add_adapter(name, adapter))

    def prefill(self, num_tokens: int, seed: int, adapter: str | None = None) -> float:
        with self._asked([prompt(num_tokens, seed)], 1, [adapter]) as receivers:
            started = time.perf_counter()
        return receivers[0].times[0] - started

    def decode(self, context: int, num_tokens: int, streams: int, adapters: Sequence[str | None] = (None,)) -> float:
        """The first call reads the prompts; later ones find them in the cache. `adapters` take turns."""
        prompts = [prompt(context, 1000 + stream) for stream in range(streams)]
        with self._asked(prompts, 1, adapters):
            pass
        with self._asked(prompts, num_tokens + 1, adapters) as receivers:
            pass
        begin = max(receiver.times[0] for receiver in receivers)  # from here on all streams decode
        end = max(receiver.times[-1] for receiver in receivers)
        counted = sum(sum(when > begin for when in receiver.times) for receiver in receivers)
        return (end - begin) * num_tokens * streams / counted

    @contextmanager
    def _asked(
        self, prompts: list[list[int]], num_tokens: int, adapters: Sequence[str | None]
    ) -> "Iterator[list[_Receiver]]":
        from core.config.param_config import SamplingConfig
        from core.inference.request import Request
        from core.inference.sampling import Sampler

        receivers = [_Receiver() for _ in prompts]
        sampling = SamplingConfig(temperature=0)
        requests = [
            Request(
                ids,
                Sampler(sampling, ids, vocab_size=self._engine.vocab_size),
                receiver,
                max_new_tokens=num_tokens,
                adapter=adapter,
            )
            for ids, receiver, adapter in zip(prompts, receivers, cycle(adapters), strict=False)
        ]
        yield receivers
        for request in requests:
            self._engine.submit(request)
        for receiver in receivers:
            receiver.done.wait()
            if receiver.error is not None:
                raise receiver.error


class WithLibrary(Ours):
    """The engine and, in the same process as in the program, the library that takes in files."""

    _library: "Library | None" = None

    def index(self, folder: str, files: str) -> None:
        """Begin to index; what was begun is stopped by `stop_indexing`."""
        from app.library import Library

        self._library = Library(Path(folder), follows=False)
        self._library.add([Path(files)], "bench")

    def num_indexed(self) -> int:
        """Files that are done. Raises SetupError where the work has ended."""
        assert self._library is not None
        activity = self._library.activity
        if not activity.is_running:
            raise SetupError(f"The indexing has ended: {activity.counts} {activity.error}", "Index more files.")
        return activity.progress.done if activity.progress else 0

    def stop_indexing(self) -> None:
        """End after the file that is being worked on."""
        assert self._library is not None
        self._library.cancel()
        self._library.wait(STOP_TIMEOUT_S)


class _Receiver:
    """Notes when each token came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.done = threading.Event()
        self.error: BaseException | None = None

    def push(self, choice: "Choice") -> bool:
        self.times.append(time.perf_counter())
        return False

    def end(self, reason: str) -> None:
        self.done.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.done.set()


ENGINES: dict[str, Callable[[str, int], Decoder]] = {
    "ours": Ours,
    "ours with library": WithLibrary,
    "llama.cpp": LlamaCpp,
}


def main() -> None:
    kind, path, threads = sys.argv[1:]
    decoder: Decoder = ENGINES[kind](path, int(threads))
    for line in sys.stdin:
        method, *arguments = json.loads(line)
        if method == "facts":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            result: Any = {"load_s": decoder.load_s, "weight_bytes": decoder.weight_bytes, "peak_rss_mb": peak}
        else:
            result = getattr(decoder, method)(*arguments)
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
