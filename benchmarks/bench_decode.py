"""Decoding and reading prompts with a 1B model of random weights, beside the machine's limits and llama.cpp.

Each engine sits with its model in a process of its own (`decoders`); the processes take turns, one measurement
each, so that a disturbance hits all of them alike. Medians are shown, and ratios of medians of one run. The
ceiling of decoding is memory: a token reads all weights once, and the keys and values before it.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.paths import ROOT
from core.errors import SetupError
from core.model.device import num_usable_cores

PEER = "llama.cpp"
PEER_FORMATS = {"int4": "Q4_0", "int8": "Q8_0", "int4 with int4 head": "Q4_0"}
SHAPE_NAMES = ("llama", "astrai")
FORMATS = ("fp32", "int8", "int4", "int4 with int4 head")
CONTEXTS = (128, 512, 2048)
PREFILL_TOKENS, DECODE_TOKENS, STREAMS = 512, 32, 8
# An engine that is so slow is measured at the shortest context alone, once.
SLOW_FORMATS = ("fp32",)


@dataclass(slots=True)
class Measured:
    """One engine with one model: its process and its times in seconds."""

    engine: str
    format: str
    process: subprocess.Popen[str]
    decode: dict[tuple[int, int], list[float]] = field(default_factory=dict)  # (streams, context) -> one step of each
    prefill: list[float] = field(default_factory=list)

    def ask(self, method: str, *arguments: Any) -> Any:
        """Let the process do something. Raises SetupError when it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps([method, *arguments]) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SetupError(f"{self.engine} {self.format} ended.", "Look at what it printed above.")
        return json.loads(line)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=SHAPE_NAMES, default="llama", help="the model's shape (default llama)")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=["int8", "int4", "int4 with int4 head"], help="weights"
    )
    parser.add_argument("--contexts", nargs="+", type=int, default=CONTEXTS, help="tokens before the decoded ones")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each kind (default 5)")
    parser.add_argument("--peer", choices=(PEER,), help="measure llama.cpp beside; wants the package llama-cpp-python")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="the Python that has the peer's package, if it is another one"
    )


def run(arguments: Namespace) -> dict[str, Any]:
    from app.machine import measure, read_gb_per_s

    reads: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        measured = [stack.enter_context(one) for one in _start(arguments, Path(folder))]
        for one in measured:
            one.ask("facts")  # when all have loaded
        for repeat in range(arguments.repeats):
            for one in measured:
                reads.append(read_gb_per_s())
                _measure(one, arguments.contexts, repeat)
        facts = [one.ask("facts") for one in measured]
    rows = [row for one, fact in zip(measured, facts, strict=True) for row in _rows(one, arguments.shape, fact)]
    result = {
        "machine": {"read_gb_s": round(statistics.median(reads), 1), "sgemm_gflops": measure()["fp32_gflop_per_s"]},
        "rows": rows,
        "ratios": _ratios(rows),
    }
    _print_table(result)
    return result


def _start(arguments: Namespace, folder: Path) -> "Iterator[Any]":
    from benchmarks.random_models import SCHEMES, SHAPES, write_gguf, write_ours

    config = SHAPES[arguments.shape]
    for form in arguments.formats:
        place = folder / form.replace(" ", "-")
        write_ours(config, SCHEMES[form], place)
        yield started(sys.executable, "ours", form, place)
    peers = {PEER_FORMATS[form] for form in arguments.formats if form in PEER_FORMATS} if arguments.peer else set()
    for form in sorted(peers):
        place = folder / f"{form}.gguf"
        write_gguf(config, form, place)
        yield started(arguments.peer_python, PEER, form, place)


@contextmanager
def started(python: str, engine: str, form: str, place: Path) -> Iterator[Measured]:
    """A process with an engine and a model."""
    command = [python, "-m", "benchmarks.decoders", engine, str(place), str(num_usable_cores())]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if engine == PEER else None,
        text=True, cwd=ROOT, env=environment,
    ) as process:  # fmt: skip
        try:
            yield Measured(engine, form, process)
        finally:
            process.kill()


def _measure(one: Measured, contexts: list[int], repeat: int) -> None:
    if one.format in SLOW_FORMATS and repeat:
        return
    one.prefill.append(one.ask("prefill", PREFILL_TOKENS, repeat))
    cases = [(1, context) for context in contexts] + [(STREAMS, contexts[0])]
    for streams, context in cases[:1] if one.format in SLOW_FORMATS else cases:
        seconds = one.ask("decode", context, DECODE_TOKENS, streams)
        one.decode.setdefault((streams, context), []).append(seconds / DECODE_TOKENS)


def _rows(one: Measured, shape: str, facts: dict[str, Any]) -> list[dict[str, Any]]:
    common = {"engine": one.engine, "shape": shape, "format": one.format}
    costs = {
        "prefill_tok_s": round(PREFILL_TOKENS / statistics.median(one.prefill), 1),
        "bytes_per_token": facts["weight_bytes"],
        "peak_rss_mb": facts["peak_rss_mb"],
        "load_s": round(facts["load_s"], 2),
    }
    return [
        {
            **common,
            "streams": streams,
            "context": context,
            "decode_tok_s": round(streams / statistics.median(seconds), 1),
            "decode_spread_tok_s": round(streams / min(seconds) - streams / max(seconds), 1),
            "weights_gb_s": round(facts["weight_bytes"] / statistics.median(seconds) / 1e9, 1),
            **costs,
        }
        for (streams, context), seconds in one.decode.items()
    ]


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours over the peer's, at the shortest context."""

    def speed(engine: str, form: str, streams: int, key: str) -> float | None:
        found = [row for row in rows if (row["engine"], row["format"], row["streams"]) == (engine, form, streams)]
        return found[0][key] if found else None

    wanted = {
        "decode_int4_vs_q4_0": ("int4", "Q4_0", 1, "decode_tok_s"),
        "decode_int4_head4_vs_q4_0": ("int4 with int4 head", "Q4_0", 1, "decode_tok_s"),
        "decode_int8_vs_q8_0": ("int8", "Q8_0", 1, "decode_tok_s"),
        "prefill_vs_q4_0": ("int4", "Q4_0", 1, "prefill_tok_s"),
        "streams8_vs_q4_0": ("int4", "Q4_0", STREAMS, "decode_tok_s"),
    }
    ratios: dict[str, float] = {}
    for name, (ours, theirs, streams, key) in wanted.items():
        mine, peer = speed("ours", ours, streams, key), speed(PEER, theirs, streams, key)
        if mine and peer:
            ratios[name] = round(mine / peer, 2)
    return ratios


def _print_table(result: dict[str, Any]) -> None:
    names = ("engine", "format", "streams", "context", "decode_tok_s", "weights_gb_s", "prefill_tok_s", "peak_rss_mb")
    print("  ".join(f"{name:>20}" if name == "format" else f"{name:>13}" for name in names))
    for row in result["rows"]:
        print("  ".join(f"{row[name]:>20}" if name == "format" else f"{row[name]:>13}" for name in names))
