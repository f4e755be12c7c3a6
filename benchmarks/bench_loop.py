"""The preference loop once on a quantised 1B model of random weights: pairs, DPO of an adapter, the margin as served.

The user's corrections are made up: the better answers are Chinese, the worse ones English. What is timed is what the
page's "Improve" starts: a detached job that prepares the pairs and trains. Then chat's way of serving is measured: the
adapter unmerged over the same quantised weights, its margin on held-out pairs, both versions answering at once.
"""

import os
import random
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.paths import starter_dir

if TYPE_CHECKING:
    from core.data.formats import Preference
    from core.inference.generator import LanguageModel
    from studio import Job, JobStore

SHAPE_NAMES = ("astrai", "llama", "starter")
ENGLISH = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "sleeps", "by", "the", "river")
CHINESE = "今天天气很好我们一起去公园散步看见许多红色的花和绿色的树小狗在草地上跑来跑去非常高兴"
ADAPTER = "new"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--shape", choices=SHAPE_NAMES, default="astrai", help="the model's shape (default astrai)")
    parser.add_argument("--format", choices=("int8", "int4"), default="int4", help="the frozen base (default int4)")
    parser.add_argument("--pairs", type=int, default=40, help="pairs that are learnt from (default 40)")
    parser.add_argument("--replay", type=int, default=0, help="conversations beside them (default 0)")
    parser.add_argument("--held-out", type=int, default=16, help="pairs to measure on (default 16)")
    parser.add_argument("--words", type=int, default=20, help="words of an answer (default 20)")


def run(arguments: Namespace) -> dict[str, Any]:
    from core.evaluation import preference_margin
    from core.parallel.priority import BACKGROUND

    os.environ[BACKGROUND] = "0"  # a job that gives way to everything tells nothing of its own speed
    examples = _examples(arguments.pairs + arguments.held_out + arguments.replay, arguments.words)
    learnt = examples[: arguments.pairs]
    held_out = examples[arguments.pairs : arguments.pairs + arguments.held_out]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job, rows = _improve(folder, arguments, learnt, examples[len(learnt) + len(held_out) :])
        assert job.started is not None
        assert job.ended is not None
        model = _load(folder / "base", job.folder)
        started = time.perf_counter()
        found = preference_margin(model, held_out, adapter=ADAPTER)
        margin_s = time.perf_counter() - started
        last = [row for row in rows if "loss" in row][-1]
        figures = {
            "shape": f"{arguments.shape}, {model.num_parameters:,} parameters, {model.quantization}",
            "pairs": arguments.pairs,
            "steps": last["step"],
            "minutes_of_the_job": round((job.ended - job.started) / 60, 2),
            "trained_tokens_per_s": round(last["tokens_per_s"], 1),
            "peak_training_memory_gb": round(max(row.get("memory_bytes", 0) for row in rows) / 1e9, 2),
            "trained_accuracy": round(last["accuracy"], 3),
            "trained_margin": round(last["margin"], 4),
            "served_accuracy": round(found.accuracy, 3),
            "served_accuracy_interval": [round(value, 3) for value in found.interval],
            "served_margin": round(found.margin, 4),
            "seconds_per_pair_scored": round(margin_s / found.num_pairs, 2),
            **_answers_at_once(model),
        }
        model.close()
    return figures


def _examples(count: int, words: int) -> "list[Preference]":
    from core.data.formats import Preference

    draw = random.Random(1)  # noqa: S311 - no secret
    return [
        Preference(
            [{"role": "user", "content": " ".join(draw.choices(ENGLISH, k=8)) + "?"}],
            "".join(draw.choices(CHINESE, k=words)) + "。",
            " ".join(draw.choices(ENGLISH, k=words)) + ".",
        )
        for _ in range(count)
    ]


def _improve(
    folder: Path, arguments: Namespace, learnt: "list[Preference]", replay: "list[Preference]"
) -> "tuple[Job, list[dict[str, Any]]]":
    """The job when it has ended, and its rows of metrics."""
    from benchmarks.random_models import SCHEMES, SHAPES, write_ours
    from core.config.model_config import PRESETS
    from core.data.tokenizer import Tokenizer
    from core.trainer.run_folder import read_metrics
    from studio import JobStore
    from studio.improve import Subject, improve

    base, store = folder / "base", JobStore(folder / "studio")
    write_ours({**SHAPES, "starter": PRESETS["starter"]}[arguments.shape], SCHEMES[arguments.format], base)
    Tokenizer.load(starter_dir()).save(base)
    job = improve(
        store,
        Subject(base, arguments.format),
        [{"messages": pair.messages, "chosen": pair.chosen, "rejected": pair.rejected} for pair in learnt],
        replay=[{"messages": [*pair.messages, {"role": "assistant", "content": pair.chosen}]} for pair in replay],
    )
    job = _ended(store, job)
    return job, read_metrics(job.folder / "metrics.jsonl")


def _ended(store: "JobStore", job: "Job") -> "Job":
    from core.errors import TrainingError
    from studio import JobState, kill

    try:
        while not job.state.is_ended:
            time.sleep(0.5)
            job = store.job(job.id)
    finally:
        if not job.state.is_ended:  # nobody waits for it any more
            kill(store, job.id)
    if job.state is not JobState.FINISHED:
        raise TrainingError(f"The run ended as {job.state}: {job.failure}.", store.log_tail(job.id, 2000))
    return job


def _load(base: Path, run: Path) -> "LanguageModel":
    import core

    return core.load(base, adapters={ADAPTER: run}, max_seq_len=1024)


def _answers_at_once(model: "LanguageModel") -> dict[str, Any]:
    """Speed of one answer of each version alone, and of both side by side."""
    question = [{"role": "user", "content": "Tell me about the river."}]

    def rate(adapters: list[str | None]) -> float:
        started = time.perf_counter()
        streams = [model.chat(question, adapter=adapter, max_new_tokens=48, seed=1) for adapter in adapters]
        for stream in streams:
            stream.read()
        return sum(stream.stats.completion_tokens for stream in streams) / (time.perf_counter() - started)

    rate([None, ADAPTER])  # the first answers wait for what is compiled and read
    return {
        "tokens_per_s_base": round(rate([None]), 1),
        "tokens_per_s_adapter": round(rate([ADAPTER]), 1),
        "tokens_per_s_both_at_once": round(rate([None, ADAPTER]), 1),
    }
