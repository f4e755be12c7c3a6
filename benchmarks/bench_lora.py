"""DPO of LoRA adapters beside a frozen quantised 1B model of random weights: seconds per pair, memory, the whole run.

A real run in a process of its own: `core.trainer` with stage dpo, the reference pass counted. A pair is two sequences
of the same prompt, which is computed once. The ceiling is the machine's fp32 product: a token costs 2 FLOP for each
weight of a product in the reference's forward pass, in the policy's and again for the gradient of its inputs.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.paths import ROOT, starter_dir

if TYPE_CHECKING:
    from core.config.model_config import ModelConfig
    from core.data.tokenizer import Tokenizer

SHAPE_NAMES = ("astrai", "llama")
PAIRS_PER_STEP = 2
PASSES = 3  # reference forward, policy forward, policy backward to its inputs


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=SHAPE_NAMES, default="astrai", help="the model's shape (default astrai)")
    parser.add_argument("--format", choices=("int8", "int4"), default="int8", help="the frozen base (default int8)")
    parser.add_argument("--adapter", choices=("lora", "dora"), default="lora", help="what is trained (default lora)")
    parser.add_argument("--prompt-tokens", type=int, default=60, help="tokens of a pair's prompt (default 60)")
    parser.add_argument("--answer-tokens", type=int, default=240, help="tokens of each of its answers (default 240)")
    parser.add_argument("--pairs", type=int, default=64, help="pairs of the run that is projected (default 64)")
    parser.add_argument("--steps", type=int, default=2, help=f"measured steps of {PAIRS_PER_STEP} pairs (default 2)")
    parser.add_argument("--whole", action="store_true", help="train all pairs instead of projecting")
    parser.add_argument("--recompute", action="store_true", help="with gradient_checkpointing")


def run(arguments: Namespace) -> dict[str, Any]:
    from app.machine import measure
    from benchmarks.random_models import SCHEMES, SHAPES, write_ours
    from core.data.tokenizer import Tokenizer

    config = SHAPES[arguments.shape]
    tokenizer = Tokenizer.load(starter_dir())
    num_steps = -(-arguments.pairs // PAIRS_PER_STEP) if arguments.whole else arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        base, data = Path(folder) / "base", Path(folder) / "data"
        write_ours(config, SCHEMES[arguments.format], base)
        tokenizer.save(base)
        _write_pairs(data, tokenizer, arguments, num_steps * PAIRS_PER_STEP)
        options = _options(arguments, base, data, Path(folder) / "run", num_steps)
        wall_s, rows = _train(options)
    step_s = _train_s(rows) / num_steps
    tokens = arguments.prompt_tokens + 2 * arguments.answer_tokens
    flop = 2 * PASSES * _product_weights(config) * tokens
    startup_s = wall_s - _train_s(rows)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    gflops = measure()["fp32_gflop_per_s"]
    return {
        "shape": f"{arguments.shape}, {config.num_parameters:,} parameters, {arguments.format}",
        "pair": f"{arguments.prompt_tokens} + 2 x {arguments.answer_tokens} tokens",
        "measured_pairs": num_steps * PAIRS_PER_STEP,
        "seconds_per_pair": round(step_s / PAIRS_PER_STEP, 2),
        "tokens_per_s": round(tokens * PAIRS_PER_STEP / step_s, 1),
        "gflop_per_s": round(flop / (step_s / PAIRS_PER_STEP) / 1e9, 1),
        "sgemm_gflop_per_s": gflops,
        "load_and_save_s": round(startup_s, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_gb": round(usage.ru_maxrss * 1024 / 1e9, 2),
        "minutes_of_the_whole_run": round((startup_s + step_s * arguments.pairs / PAIRS_PER_STEP) / 60, 1),
        "loss": [round(row["loss"], 6) for row in rows],
    }


def _options(arguments: Namespace, base: Path, data: Path, output: Path, num_steps: int) -> dict[str, Any]:
    return {
        "stage": "dpo",
        "data": str(data),
        "output": str(output),
        "base": str(base),
        "adapter": arguments.adapter,
        "gradient_checkpointing": arguments.recompute,
        "max_seq_len": arguments.prompt_tokens + arguments.answer_tokens + 1,
        "micro_batch_size": 1,
        "global_batch_size": PAIRS_PER_STEP,
        "max_steps": num_steps,
        "learning_rate": 1e-4,
        "log_interval": 1,
    }


def _write_pairs(folder: Path, tokenizer: "Tokenizer", arguments: Namespace, count: int) -> None:
    """Pairs of random words, their answers as long as is asked for."""
    from core.data.mmap_file import MmapFileHandler

    draw = np.random.default_rng(0)
    fingerprint = tokenizer.fingerprint
    writer = MmapFileHandler.writer(folder, kind="preference", vocab_size=tokenizer.vocab_size, fingerprint=fingerprint)
    tokenizer.save(writer.temporary / "tokenizer")
    words = [token for token in range(tokenizer.vocab_size) if token not in tokenizer.stop_ids]
    mask = [0] * arguments.prompt_tokens + [1] * arguments.answer_tokens
    for _ in range(count):
        prompt = draw.choice(words, arguments.prompt_tokens)
        for _ in ("chosen", "rejected"):
            answer = draw.choice(words, arguments.answer_tokens)
            writer.add("train", [*prompt.tolist(), *answer.tolist()], mask, num_bytes=len(mask))
    writer.close(sources=[], report={})


def _train(options: dict[str, Any]) -> tuple[float, list[dict[str, Any]]]:
    """The time of a run in a process of its own, and its metric rows."""
    from core.files import write_json

    output = Path(options["output"])
    write_json(output.with_suffix(".json"), options)
    start = time.perf_counter()
    command = [sys.executable, "-m", "core.trainer", str(output.with_suffix(".json"))]
    subprocess.run(command, check=True, cwd=ROOT)
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return time.perf_counter() - start, [row for row in rows if "loss" in row]


def _train_s(rows: list[dict[str, Any]]) -> float:
    """Seconds inside the steps of a run with one row for each."""
    tokens = [0, *(row["tokens"] for row in rows)]
    return sum((now - before) / row["tokens_per_s"] for before, now, row in zip(tokens, tokens[1:], rows, strict=False))


def _product_weights(config: "ModelConfig") -> int:
    """Weights that a token is multiplied with: all but an embedding that is no head."""
    extra = 0 if config.tie_word_embeddings else config.vocab_size * config.hidden_size
    return config.num_parameters - extra
