"""One engine with one model in a process of its own, which does what it is told and says how long it took.

    python -m benchmarks.decoders ours FOLDER THREADS
    python -m benchmarks.decoders llama.cpp FILE.gguf THREADS

Each line in is a JSON list, a method and its arguments; each line out its result. Both engines choose the
likeliest token on the Python side, and get the same prompts of random ids.
"""

import json
import random
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from core.inference.sampling import Choice

MAX_SEQ_LEN = 4096
MAX_STREAMS = 8
LARGEST_ID = 30000


class Decoder(Protocol):
    """An engine with a model."""

    load_s: float
    weight_bytes: int

    def prefill(self, num_tokens: int, seed: int) -> float:
        """Seconds to read a prompt that nothing is known of."""

    def decode(self, context: int, num_tokens: int, streams: int) -> float:
        """Seconds for `num_tokens` steps of so many streams behind `context` tokens each."""


def prompt(num_tokens: int, seed: int) -> list[int]:
    """Random ids."""
    return random.Random(seed).choices(range(3, LARGEST_ID), k=num_tokens)  # noqa: S311 - a seeded draw


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

    def prefill(self, num_tokens: int, seed: int) -> float:
        with self._asked([prompt(num_tokens, seed)], 1) as receivers:
            started = time.perf_counter()
        return receivers[0].times[0] - started

    def decode(self, context: int, num_tokens: int, streams: int) -> float:
        """The first call reads the prompts; later ones find them in the cache."""
        prompts = [prompt(context, 1000 + stream) for stream in range(streams)]
        with self._asked(prompts, 1):
            pass
        with self._asked(prompts, num_tokens + 1) as receivers:
            pass
        begin = max(receiver.times[0] for receiver in receivers)  # from here on all streams decode
        end = max(receiver.times[-1] for receiver in receivers)
        counted = sum(sum(when > begin for when in receiver.times) for receiver in receivers)
        return (end - begin) * num_tokens * streams / counted

    @contextmanager
    def _asked(self, prompts: list[list[int]], num_tokens: int) -> "Iterator[list[_Receiver]]":
        from core.config.param_config import SamplingConfig
        from core.inference.request import Request
        from core.inference.sampling import Sampler

        receivers = [_Receiver() for _ in prompts]
        sampling = SamplingConfig(temperature=0)
        requests = [
            Request(
                ids, Sampler(sampling, ids, vocab_size=self._engine.vocab_size), receiver, max_new_tokens=num_tokens
            )
            for ids, receiver in zip(prompts, receivers, strict=True)
        ]
        yield receivers
        for request in requests:
            self._engine.submit(request)
        for receiver in receivers:
            receiver.done.wait()
            if receiver.error is not None:
                raise receiver.error


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


class LlamaCpp:
    """llama.cpp through the C interface that its Python package has."""

    def __init__(self, path: str, threads: int) -> None:
        import llama_cpp

        self._cpp: Any = llama_cpp
        self._cpp.llama_backend_init()
        started = time.perf_counter()
        self._model = self._cpp.llama_model_load_from_file(path.encode(), self._cpp.llama_model_default_params())
        settings = self._cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = MAX_SEQ_LEN * 2, 512, 512
        settings.n_seq_max = MAX_STREAMS
        settings.kv_unified = True
        settings.n_threads = settings.n_threads_batch = threads
        self._context = self._cpp.llama_init_from_model(self._model, settings)
        self._batch = self._cpp.llama_batch_init(512, 0, 1)
        self.load_s = time.perf_counter() - started
        self.weight_bytes = int(self._cpp.llama_model_size(self._model))
        self._vocab_size = self._cpp.llama_vocab_n_tokens(self._cpp.llama_model_get_vocab(self._model))

    def prefill(self, num_tokens: int, seed: int) -> float:
        self._forget()
        started = time.perf_counter()
        self._read(prompt(num_tokens, seed), 0)
        return time.perf_counter() - started

    def decode(self, context: int, num_tokens: int, streams: int) -> float:
        self._forget()
        tokens = [self._read(prompt(context, 1000 + stream), stream) for stream in range(streams)]
        started = time.perf_counter()
        for position in range(context, context + num_tokens):
            tokens = self._step([(token, position, stream, True) for stream, token in enumerate(tokens)])
        return time.perf_counter() - started

    def _forget(self) -> None:
        self._cpp.llama_memory_clear(self._cpp.llama_get_memory(self._context), True)

    def _read(self, ids: list[int], stream: int) -> int:
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            rows = [(token, start + i, stream, start + i == len(ids) - 1) for i, token in enumerate(part)]
            chosen = self._step(rows)
        return chosen[0]

    def _step(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        import numpy as np

        self._batch.n_tokens = len(rows)
        for i, (token, position, stream, wants_logits) in enumerate(rows):
            self._batch.token[i], self._batch.pos[i] = token, position
            self._batch.n_seq_id[i], self._batch.seq_id[i][0] = 1, stream
            self._batch.logits[i] = wants_logits
        status = self._cpp.llama_decode(self._context, self._batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status}")
        wanted = [i for i, row in enumerate(rows) if row[3]]
        views = [self._cpp.llama_get_logits_ith(self._context, i) for i in wanted]
        return [int(np.ctypeslib.as_array(view, (self._vocab_size,)).argmax()) for view in views]


def main() -> None:
    kind, path, threads = sys.argv[1:]
    decoder: Decoder = Ours(path, int(threads)) if kind == "ours" else LlamaCpp(path, int(threads))
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
