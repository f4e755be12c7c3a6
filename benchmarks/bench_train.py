"""The training step beside Hugging Face's Trainer (SFT) and TRL (DPO), and beside the machine's matrix product.

All engines get one model and the same token ids, and sit in processes of their own; they take turns, a step each, so
that a disturbance hits all alike. Medians are shown, and ratios of medians of one run. Tokens are those that are not
padding; in DPO the prompt counts for both answers, whoever computes it once, and the reference runs in each step.
Efficiency is the FLOP/s of the model over those of the best square product of the same run: 6 for each token and weight
of a matrix, the head's among them, and for attention 12 · layers · width · context, of which causal order leaves half.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.paths import ROOT
from core.errors import SetupError
from core.model.device import num_usable_cores

PEERS = ("hf", "trl")
NAMES = {"ours": "ours", "compiled": "ours, compiled", "hf": "HF Trainer", "trl": "TRL"}
GEMM_SIZE = 2048
MANY_STEPS = 10_000
SETTINGS = {"learning_rate": 1e-5, "adam_beta2": 0.999, "max_grad_norm": 1.0, "beta": 0.1}
# Shares of the row's length that a ragged row may have.
RAGGED = (0.125, 1.0)


@dataclass(slots=True)
class Engine:
    """One trainer in its process, and the seconds of its steps."""

    name: str
    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def ask(self, what: str) -> dict[str, float]:
        """Send one line, read one. Raises SetupError when the process ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(f"{what}\n")
            self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):  # trainers print other things too
                answer: dict[str, float] = json.loads(line)
                return answer
        raise SetupError(f"The process of {NAMES[self.name]} ended.", "Look at what it printed above.")


@dataclass(frozen=True, slots=True)
class Work:
    """What one step of a stage computes: token ids for both sides, and what they count as."""

    stage: str
    rows: str
    data: list[Any]  # rows of ids, or pairs of prompt, chosen and rejected
    num_tokens: float  # of a step, on average
    flop: float  # of a step, on average


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--preset", default="25m", help="shape of the model (default 25m)")
    parser.add_argument("--rows", type=int, default=8, help="rows, or sequences of pairs, in a step (default 8)")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the longest row (default 512)")
    parser.add_argument("--prompt-tokens", type=int, default=192, help="tokens of a DPO prompt (default 192)")
    parser.add_argument("--repeats", type=int, default=5, help="measured steps of each (default 5)")
    parser.add_argument("--threads", type=int, default=num_usable_cores(), help="threads of each trainer")
    parser.add_argument("--stages", nargs="+", choices=("sft", "ragged", "dpo"), default=["sft", "ragged", "dpo"])
    parser.add_argument(
        "--compile", action="store_true", help="our trainer with torch.compile too, as a row of its own"
    )
    parser.add_argument("--peer", type=_peers, default=(), help="hf, trl or both as hf,trl")
    parser.add_argument("--peer-python", default=sys.executable, help="the Python that has the peers' packages")


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(PEERS):
        raise ValueError(text)
    return names


def run(arguments: Namespace) -> dict[str, Any]:
    rows, products = [], []
    with tempfile.TemporaryDirectory() as place:
        for work in _works(arguments):
            folder = Path(place) / f"{work.stage}-{work.rows.replace(' ', '-')}"
            with ExitStack() as stack:
                engines = [stack.enter_context(one) for one in _start(work, arguments, folder)]
                products += _take_turns(engines, arguments.repeats, arguments.threads)
                rows += [_row(engine, work) for engine in engines]
    best = max(products)
    for row in rows:
        row["efficiency"] = round(row.pop("flop_per_s") / best, 3)
    result = {"sgemm_gflops": round(best / 1e9, 1), "rows": rows, "ratios": _ratios(rows), "tokens": arguments.tokens}
    _print_table(result)
    return result


def _works(arguments: Namespace) -> Iterator[Work]:
    """The same ids in every run of a seed."""
    from core.config.model_config import PRESETS

    shape, draw = PRESETS[arguments.preset], random.Random(0)  # noqa: S311 - a seeded draw
    width = shape.num_attention_heads * shape.head_dim
    matrices = shape.num_parameters - (0 if shape.tie_word_embeddings else shape.vocab_size * shape.hidden_size)

    def flop(length: int) -> float:
        """Of learning one causal row."""
        return 6 * matrices * length + 12 * shape.num_hidden_layers * width * length * length / 2

    def ids(count: int) -> list[int]:
        return draw.choices(range(400, shape.vocab_size), k=count)

    size, rows = arguments.tokens, arguments.rows
    for stage in arguments.stages:
        if stage == "dpo":
            answer = size - arguments.prompt_tokens
            pairs = [
                {"prompt": ids(arguments.prompt_tokens), "chosen": ids(answer), "rejected": ids(answer)}
                for _ in range(64)
            ]
            # Policy and reference: forward and backward are 6, the reference's forward alone 2.
            yield Work("dpo", "equal", pairs, rows * size, rows * flop(size) * 8 / 6)
            continue
        lengths = [size if stage == "sft" else int(size * draw.uniform(*RAGGED)) for _ in range(256)]
        data = [ids(length) for length in lengths]
        mean = rows / len(lengths)
        name = "equal" if stage == "sft" else "ragged"
        yield Work("sft", name, data, mean * sum(lengths), mean * sum(map(flop, lengths)))


def _start(work: Work, arguments: Namespace, folder: Path) -> Iterator[Any]:
    config = _write_ours(work, arguments, folder)
    command = [sys.executable, "-m", "benchmarks.trainers"]
    yield _started("ours", [*command, str(config)])
    if arguments.compile:
        compiled = config.with_name("compiled.json")
        compiled.write_text(json.dumps({**json.loads(config.read_text()), "compile": "on", "output": f"{config}.run"}))
        yield _started("compiled", [*command, str(compiled)])
    peer = "trl" if work.stage == "dpo" else "hf"
    if peer in arguments.peer:
        request = folder / "request.json"
        rows = arguments.rows // 2 if work.stage == "dpo" else arguments.rows
        value = {"model": str(folder / "model"), "data": work.data, "rows": rows, "threads": arguments.threads}
        request.write_text(json.dumps(value | SETTINGS))
        yield _started(peer, [arguments.peer_python, "-m", "benchmarks.trainer_peers", peer, str(request)])


def _write_ours(work: Work, arguments: Namespace, folder: Path) -> Path:
    """The model, the data set and the config of our run; returns the config's path."""
    from core.config.model_config import PRESETS
    from core.data.mmap_file import MmapFileHandler
    from core.data.tokenizer import Tokenizer
    from core.model.checkpoint import save_model
    from core.model.transformer import Transformer

    shape = PRESETS[arguments.preset]
    tokenizer = Tokenizer.train([f"word {number}" for number in range(200)], vocab_size=290)
    model = Transformer(shape)
    model.init_weights(0)
    save_model(model, folder / "model", tokenizer=tokenizer)
    kind = "preference" if work.stage == "dpo" else "sft"
    writer = MmapFileHandler.writer(
        folder / "data", kind=kind, vocab_size=shape.vocab_size, fingerprint=tokenizer.fingerprint
    )
    tokenizer.save(writer.temporary / "tokenizer")
    for one in work.data:
        documents = [(one["prompt"], one["chosen"]), (one["prompt"], one["rejected"])] if kind != "sft" else [([], one)]
        for prompt, learnt in documents:
            writer.add("train", [*prompt, *learnt], [0] * len(prompt) + [1] * len(learnt))
    writer.close(sources=[], report={})
    pairs = {
        "beta": SETTINGS["beta"],
        "micro_batch_size": arguments.rows // 2,
        "global_batch_size": arguments.rows // 2,
    }
    config = {
        "stage": work.stage,
        "data": str(folder / "data"),
        "output": str(folder / "run"),
        "base": str(folder / "model"),
        "max_seq_len": arguments.tokens,
        "micro_batch_size": arguments.rows,
        "global_batch_size": arguments.rows,
        "max_steps": MANY_STEPS,
        "precision": "fp32",
        "weight_decay": 0.0,
        "schedule": {"kind": "constant", "warmup_ratio": 0.0},
        "num_threads": arguments.threads,
        **{name: SETTINGS[name] for name in ("learning_rate", "adam_beta2", "max_grad_norm")},
        **(pairs if work.stage == "dpo" else {}),
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def _started(name: str, command: list[str]) -> Iterator[Engine]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        try:
            yield Engine(name, process)
        finally:
            process.kill()


def _take_turns(engines: list[Engine], repeats: int, threads: int) -> list[float]:
    """One step each, `repeats` times after one that warms up; returns FLOP/s of square products in between."""
    import torch

    torch.set_num_threads(threads)
    left, right = torch.randn(2, GEMM_SIZE, GEMM_SIZE)
    out = torch.empty(GEMM_SIZE, GEMM_SIZE)
    products = []
    for engine in engines:
        engine.ask("step")
    for _ in range(repeats):
        for engine in engines:
            for _ in range(3):
                start = time.perf_counter()
                torch.mm(left, right, out=out)
                products.append(2 * GEMM_SIZE**3 / (time.perf_counter() - start))
            taken = engine.ask("step")
            engine.seconds.append(taken["seconds"])
            engine.cpu_s.append(taken["cpu_s"])
    return products


def _row(engine: Engine, work: Work) -> dict[str, Any]:
    median = statistics.median(engine.seconds)
    return {
        "engine": NAMES[engine.name],
        "stage": work.stage,
        "rows": work.rows,
        "tok_s": round(work.num_tokens / median, 1),
        "spread_tok_s": round(work.num_tokens / min(engine.seconds) - work.num_tokens / max(engine.seconds), 1),
        "step_s": round(median, 3),
        "step_cpu_s": round(statistics.median(engine.cpu_s), 3),
        "peak_rss_mb": engine.ask("facts")["peak_rss_mb"],
        "flop_per_s": work.flop / median,
    }


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Our tokens/s over each other engine's on the same work."""
    speeds = {(row["engine"], row["stage"], row["rows"]): row["tok_s"] for row in rows}
    return {
        f"{stage}_{kind}_vs_{engine}": round(speeds["ours", stage, kind] / speed, 2)
        for (engine, stage, kind), speed in speeds.items()
        if engine != "ours"
    }


def _print_table(result: dict[str, Any]) -> None:
    names = ("engine", "stage", "rows", "tok_s", "spread_tok_s", "step_s", "step_cpu_s", "efficiency", "peak_rss_mb")
    print("  ".join(f"{name:>14}" for name in names))
    for row in result["rows"]:
        print("  ".join(f"{row[name]:>14}" for name in names))
