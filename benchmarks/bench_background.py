"""Chat beside background work: tokens per second of a 1B int4 model alone, beside a training run, beside indexing;
and how fast the work goes meanwhile, of what it does alone.

The model has random weights and decodes in a process of its own, which holds the library too, as the program does. A
training run of the studio takes every core at low priority in another process; indexing runs in the library's thread.
Measurements of the chat alone stand before and after those beside work, so that a machine that slows down shows itself.
"""

import random
import signal
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.config.model_config import PRESETS
from core.config.train_config import TrainConfig
from core.errors import SetupError

if TYPE_CHECKING:
    from benchmarks.bench_decode import Measured

CONTEXT_TOKENS, DECODE_TOKENS = 256, 48
START_TIMEOUT_S = 300
# Enough that neither kind of work ends while it is measured.
NUM_TEXTS, NUM_FILES, SENTENCES_IN_FILE = 2000, 4000, 12
MANY_STEPS = 1_000_000
WORDS = (
    *("the", "river", "town", "bridge", "old", "market", "people", "walked", "slowly"),
    *("under", "a", "grey", "sky", "and", "talked", "of", "bread", "war", "peace"),
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=("astrai", "llama"), default="astrai", help="chat's model (default astrai)")
    parser.add_argument("--layers", type=int, help="layers of the chat's model, for a quick try")
    parser.add_argument("--preset", choices=tuple(PRESETS), default="starter", help="what is trained (default starter)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of chat alone, each time (default 5)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of work alone and of both (default 20)")
    parser.add_argument("--works", nargs="+", choices=tuple(WORKS), default=tuple(WORKS), help="what runs beside chat")


def run(arguments: Namespace) -> dict[str, Any]:
    from benchmarks.bench_decode import started
    from benchmarks.random_models import SCHEMES, SHAPES, write_ours

    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # a run that outlives us would go on
    shape = SHAPES[arguments.shape]
    if arguments.layers:
        shape = replace(shape, num_hidden_layers=arguments.layers)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_ours(shape, SCHEMES["int4"], folder / "model")
        with started(sys.executable, "ours with library", "int4", folder / "model") as chat:
            figures: dict[str, Any] = {"parameters": shape.num_parameters, "context_tokens": CONTEXT_TOKENS}
            for name in arguments.works:
                figures |= _measured(name, chat, folder, arguments)
    return figures


def _measured(name: str, chat: "Measured", folder: Path, arguments: Namespace) -> dict[str, Any]:
    """Chat's speed alone, beside one kind of work, and alone again; the work's speed alone and beside chat."""
    repeats = arguments.repeats
    before = _speeds(chat, repeats)
    with WORKS[name](chat, folder, arguments.preset) as done:
        first, started = done(), time.monotonic()
        time.sleep(arguments.seconds)
        rate_alone = (done() - first) / (time.monotonic() - started)
        first, started, beside = done(), time.monotonic(), []
        while time.monotonic() - started < arguments.seconds:
            beside += _speeds(chat, 1)
        rate = (done() - first) / (time.monotonic() - started)
    after = _speeds(chat, repeats)
    alone = statistics.median(before + after)
    unit = "steps" if name == "training" else "files"
    return {
        f"alone_before_{name}_tok_s": [round(speed, 2) for speed in before],
        f"beside_{name}_tok_s": [round(speed, 2) for speed in beside],
        f"alone_after_{name}_tok_s": [round(speed, 2) for speed in after],
        f"chat_keeps_beside_{name}": round(statistics.median(beside) / alone, 3),
        f"{name}_{unit}_per_s_alone": round(rate_alone, 3),
        f"{name}_{unit}_per_s_beside": round(rate, 3),
        f"{name}_keeps_beside_chat": round(rate / rate_alone, 3) if rate_alone else None,
    }


def _speeds(chat: "Measured", repeats: int) -> list[float]:
    return [DECODE_TOKENS / chat.ask("decode", CONTEXT_TOKENS, DECODE_TOKENS, 1) for _ in range(repeats)]


@contextmanager
def _training(chat: "Measured", folder: Path, preset: str) -> "Iterator[Any]":
    """A run of the studio; gives a function that tells its step."""
    from studio import JobStore, kill, start

    store = JobStore(folder / "studio")
    _write_data(folder / "data")
    config = TrainConfig(
        data=str(folder / "data"), output=str(folder), preset=preset, max_steps=MANY_STEPS, log_interval=1,
        validation_interval=0, micro_batch_size=1, global_batch_size=1, max_seq_len=256, device="cpu",
    )  # fmt: skip
    job = start(store, config)
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while not (job := store.job(job.id)).step:
            if job.state.is_ended or time.monotonic() > deadline:
                raise SetupError(f"The run is {job.state}: {store.log_tail(job.id)}", "Look at its log.")
            time.sleep(0.5)
        metrics = store.folder(job.id) / "metrics.jsonl"
        yield lambda: len(metrics.read_bytes().splitlines())
    finally:
        if not store.job(job.id).state.is_ended:
            kill(store, job.id)


@contextmanager
def _indexing(chat: "Measured", folder: Path, preset: str) -> "Iterator[Any]":
    """Many files that the library takes in; gives a function that tells how many are done."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    files = folder / "files"
    files.mkdir(exist_ok=True)
    for number in range(NUM_FILES):
        (files / f"{number}.txt").write_text(_text(draw), encoding="utf-8")
    chat.ask("index", str(folder / "library"), str(files))
    deadline = time.monotonic() + START_TIMEOUT_S
    try:
        while not chat.ask("num_indexed"):
            if time.monotonic() > deadline:
                raise SetupError("Nothing was indexed.", "Look at what was printed above.")
            time.sleep(0.5)
        yield lambda: chat.ask("num_indexed")
    finally:
        chat.ask("stop_indexing")


WORKS = {"training": _training, "indexing": _indexing}


def _text(draw: random.Random) -> str:
    return " ".join(" ".join(draw.choices(WORDS, k=14)).capitalize() + "." for _ in range(SENTENCES_IN_FILE))


def _write_data(folder: Path) -> None:
    """A pre-training set of random sentences with a tokenizer of its own."""
    from core.data.mmap_file import MmapFileHandler
    from core.data.tokenizer import Tokenizer

    draw = random.Random(1)  # noqa: S311 - a seeded draw
    texts = [_text(draw) for _ in range(NUM_TEXTS)]
    tokenizer = Tokenizer.train(texts[:200], vocab_size=400)
    writer = MmapFileHandler.writer(
        folder, kind="pt", vocab_size=tokenizer.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tokenizer.save(writer.temporary / "tokenizer")
    for text in texts:
        writer.add("train", [*tokenizer.encode(text), tokenizer.eos_id], num_bytes=len(text))
    writer.close(sources=[], report={})
