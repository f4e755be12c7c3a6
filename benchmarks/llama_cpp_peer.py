"""llama.cpp as a peer: the same work through the C interface that its Python package has.

Imported by a Python that may lack everything but llama-cpp-python and numpy. To quantise a file with its own tool:

    python -m benchmarks.llama_cpp_peer IN.gguf OUT.gguf Q4_0
"""

import random
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

MAX_SEQ_LEN = 4096
MAX_STREAMS = 8
LARGEST_ID = 30000
# One sequence for each stream that is measured, and one for prompts; each has a cache of its own.
SEQUENCES, SEQUENCE_TOKENS = MAX_STREAMS + 4, 2304
SCRATCH = SEQUENCES - 1


def prompt(num_tokens: int, seed: int) -> list[int]:
    """Random ids."""
    return random.Random(seed).choices(range(3, LARGEST_ID), k=num_tokens)  # noqa: S311 - a seeded draw


class LlamaCpp:
    """llama.cpp through the C interface that its Python package has."""

    def __init__(self, path: str, threads: int) -> None:
        import llama_cpp

        self._cpp: Any = llama_cpp
        self._cpp.llama_backend_init()
        started = time.perf_counter()
        self._model = self._cpp.llama_model_load_from_file(path.encode(), self._cpp.llama_model_default_params())
        settings = self._cpp.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = SEQUENCES * SEQUENCE_TOKENS, 512, 512
        settings.n_seq_max = SEQUENCES
        settings.n_threads = settings.n_threads_batch = threads
        self._context = self._cpp.llama_init_from_model(self._model, settings)
        self._sequences: dict[tuple[int, int], range] = {}  # of a context and a number of streams
        self._batch = self._cpp.llama_batch_init(512, 0, 1)
        self.load_s = time.perf_counter() - started
        self.weight_bytes = int(self._cpp.llama_model_size(self._model))
        self._vocab_size = self._cpp.llama_vocab_n_tokens(self._cpp.llama_model_get_vocab(self._model))

    def prefill(self, num_tokens: int, seed: int) -> float:
        self._cut(SCRATCH, 0)
        started = time.perf_counter()
        self._read(prompt(num_tokens, seed), SCRATCH)
        return time.perf_counter() - started

    def decode(self, context: int, num_tokens: int, streams: int) -> float:
        """The first call reads the prompts; later ones find them in the cache."""
        if (context, streams) not in self._sequences:
            first = sum(count for _, count in self._sequences)
            assert first + streams <= SCRATCH, "so many cases have no sequences"
            self._sequences[context, streams] = range(first, first + streams)
        sequences = self._sequences[context, streams]
        tokens = []
        for stream, sequence in enumerate(sequences):
            ids = prompt(context, 1000 + stream)
            is_known = self._cut(sequence, context - 1)
            tokens.append(
                self._step([(ids[-1], context - 1, sequence, True)])[0] if is_known else self._read(ids, sequence)
            )
        started = time.perf_counter()
        for position in range(context, context + num_tokens):
            rows = [(token, position, sequence, True) for token, sequence in zip(tokens, sequences, strict=True)]
            tokens = self._step(rows)
        return time.perf_counter() - started

    def nats(self, windows: list[list[int]]) -> float:
        """Total -log p of all tokens but the first of each window, in nats."""
        import numpy as np

        total = 0.0
        for ids in windows:
            self._cut(SCRATCH, 0)
            logits = self._logits([(token, place, SCRATCH, True) for place, token in enumerate(ids[:-1])])
            for view, label in zip(logits, ids[1:], strict=True):
                row = view.astype(np.float64)
                top = row.max()
                total += top + np.log(np.exp(row - top).sum()) - row[label]
        return float(total)

    def _cut(self, sequence: int, length: int) -> bool:
        """Forget what is behind the first `length` tokens; false if there were not so many."""
        memory = self._cpp.llama_get_memory(self._context)
        if self._cpp.llama_memory_seq_pos_max(memory, sequence) + 1 < length:
            return False
        self._cpp.llama_memory_seq_rm(memory, sequence, length, -1)
        return True

    def _read(self, ids: list[int], stream: int) -> int:
        for start in range(0, len(ids), 512):
            part = ids[start : start + 512]
            rows = [(token, start + i, stream, start + i == len(ids) - 1) for i, token in enumerate(part)]
            chosen = self._step(rows)
        return chosen[0]

    def _step(self, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        return [int(view.argmax()) for view in self._logits(rows)]

    def _logits(self, rows: list[tuple[int, int, int, bool]]) -> "list[np.ndarray[Any, Any]]":
        """Views of the wanted rows' logits, until the next step."""
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
        return [np.ctypeslib.as_array(view, (self._vocab_size,)) for view in views]


def main() -> None:
    import llama_cpp

    source, target, kind = sys.argv[1:]
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    status = llama_cpp.llama_model_quantize(source.encode(), target.encode(), settings)
    sys.exit(int(status))


if __name__ == "__main__":
    main()
