"""Make models/starter from a finished run: int8 weights, the tokenizer and a model card.

    python -m recipes.starter.release --run RUN --pretraining PT_RUN --data OUT --output models/starter

Every figure on the card is read from the runs or measured here.
"""

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import core
from core.evaluation import Evaluation
from core.files import write_json
from core.inference.generator import LanguageModel
from core.model.checkpoint import GENERATION
from core.trainer.run_folder import read_metrics

CARD = "README.md"
LANGUAGES = {"en": "English", "zh": "Chinese"}
NUM_SAMPLES, SAMPLE_SEED = 20, 2026
# What the starter asks for: a small model repeats itself without the penalty.
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1}
MAX_ANSWER_TOKENS = 160
PROMPT_CHARS, DECODE_TOKENS, DECODE_REPEATS = 160, 128, 5


def decode_tokens_per_s(model: LanguageModel, num_tokens: int, *, seed: int) -> float:
    """Speed after the first token. Many short streams, since a small model may end its text early."""
    tokens, seconds = 0, 0.0
    while tokens < num_tokens:
        stream = model.stream("The", max_new_tokens=num_tokens, temperature=1.0, seed=seed)
        stream.read()
        stats = stream.stats
        if stats.tokens_per_s:
            tokens += stats.completion_tokens - 1
            seconds += (stats.completion_tokens - 1) / stats.tokens_per_s
        seed += 1000
    return tokens / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the fine-tuning run")
    parser.add_argument("--pretraining", type=Path, required=True, help="the run it started from")
    parser.add_argument("--data", type=Path, required=True, help="folder that collect and conversations wrote")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    core.quantize(arguments.run / "model", arguments.output)
    write_json(arguments.output / GENERATION, SAMPLING)
    whole = core.load(arguments.run / "model", quantization="none")
    small = core.load(arguments.output)
    files = [arguments.data / f"heldout/{language}.jsonl" for language in LANGUAGES]
    parts = [
        introduction(small, arguments.output),
        scores(core.evaluate(whole, files), core.evaluate(small, files)),
        f"Decoding on the CPU that made this card: {speeds(whole, small)}.\n",
        training(arguments.pretraining, arguments.run),
        sources(arguments.data),
        samples(small, arguments.data / "heldout/sft.jsonl"),
    ]
    (arguments.output / CARD).write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts[:4]))


def introduction(model: LanguageModel, folder: Path) -> str:
    """What it is and what it is not."""
    config = model.config
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name != CARD)
    return f"""---
language: [en, zh]
license: cc-by-sa-4.0
---

# AstrAI starter

A very small bilingual chat model, so that AstrAI answers on a fresh machine before any download. Trained by
`recipes/starter` from openly licensed text.

- {model.num_parameters:,} parameters: {config.num_hidden_layers} layers, width {config.hidden_size},
  {config.num_attention_heads}/{config.num_key_value_heads} heads, vocabulary {config.vocab_size:,}, context
  {config.max_position_embeddings:,} tokens, tied embeddings. Llama layout.
- {size / 1e6:.1f} MB with its tokenizer; weights int8, one scale a row.

**Limits.** It knows next to nothing: names, dates and numbers in its answers are usually invented, its
translations are often wrong and its stories wander. It cannot reason, calculate reliably or follow long
instructions. It was trained on encyclopaedia text and stories that hold the views of their authors and times,
and has had no safety training beyond a few written refusals. Use it to see the program work, not for answers.
"""


def scores(whole: Sequence[Evaluation], small: Sequence[Evaluation]) -> str:
    """Held-out bits per byte beside xz."""
    lines = [
        "## Held-out text\n",
        "Encyclopaedia articles that neither stage was trained on, in bits per byte (lower is better).\n",
        "| language | bytes | bytes per token | fp32 | int8 | `xz -9` | perplexity per token (int8) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, full, quantised in zip(LANGUAGES.values(), whole, small, strict=True):
        lines.append(
            f"| {name} | {full.num_bytes:,} | {full.bytes_per_token:.2f} | {full.bits_per_byte:.3f} |"
            f" {quantised.bits_per_byte:.3f} | {full.xz_bits_per_byte:.3f} | {quantised.perplexity:.1f} |"
        )
    return "\n".join(lines) + "\n"


def speeds(whole: LanguageModel, small: LanguageModel) -> str:
    """Median tokens per second of both forms, alternated."""
    rates: dict[str, list[float]] = {"fp32": [], "int8": []}
    for seed in range(DECODE_REPEATS):
        for name, model in (("fp32", whole), ("int8", small)):
            rates[name].append(decode_tokens_per_s(model, DECODE_TOKENS, seed=seed))
    return ", ".join(f"{name} {statistics.median(values):.0f} tokens/s" for name, values in rates.items())


def training(pretraining: Path, run: Path) -> str:
    """What each stage cost, from its metrics."""
    lines = [
        "## Training\n",
        "| stage | steps | tokens learnt from | minutes | validation loss (nats per token) |",
        "|---|---|---|---|---|",
    ]
    for stage, folder in (("pre-training", pretraining), ("fine-tuning", run)):
        rows = read_metrics(folder / "metrics.jsonl")
        steps = [row for row in rows if "tokens" in row]
        validation = [row["validation_loss"] for row in rows if "validation_loss" in row]
        minutes = train_minutes(steps)
        lines.append(
            f"| {stage} | {steps[-1]['step']:,} | {steps[-1]['tokens']:,} | {minutes:.0f} | {validation[-1]:.3f} |"
        )
    config = json.loads((pretraining / "config.json").read_text(encoding="utf-8"))
    lines.append(
        f"\nOn a CPU with {config['num_threads']} thread, optimiser {config['optimizer']}, learning rate"
        f" {config['learning_rate']}, rows of {config['max_seq_len']} tokens, {config['global_batch_size']} in a step."
    )
    return "\n".join(lines) + "\n"


def train_minutes(steps: Sequence[dict[str, Any]]) -> float:
    """Time in optimiser steps: each row tells the speed since the row before."""
    tokens = [0, *(row["tokens"] for row in steps)]
    parts = zip(tokens, tokens[1:], steps, strict=False)
    return math.fsum((after - before) / row["tokens_per_s"] for before, after, row in parts) / 60


def sources(data: Path) -> str:
    """Every source with licence and amount."""
    pt = json.loads((data / "collect.json").read_text(encoding="utf-8"))
    sft = json.loads((data / "conversations.json").read_text(encoding="utf-8"))
    lines = ["## Data and licences\n", "| pre-training text | licence | MB |", "|---|---|---|"]
    lines += [f"| {row['path']} | {row['licence']} | {row['bytes'] / 1e6:.2f} |" for row in pt]
    lines += ["\n| fine-tuning conversations | licence | rows |", "|---|---|---|"]
    lines += [f"| {row['path']} | {row['licence']} | {row['kept'] * row.get('repeats', 1):,} |" for row in sft]
    lines.append(
        "\nNo set for evaluation and no set whose licence forbids commercial use is among them. The model is under"
        " CC BY-SA 4.0, the strictest of its sources' licences; Wikipedia, Tatoeba and the storybooks ask for"
        " attribution, which this table gives."
    )
    return "\n".join(lines) + "\n"


def samples(model: LanguageModel, heldout: Path) -> str:
    """Unedited answers to prompts drawn from held-out conversations."""
    rows = [json.loads(line)["messages"][0]["content"] for line in heldout.read_text(encoding="utf-8").splitlines()]
    short = [prompt for prompt in rows if len(prompt) <= PROMPT_CHARS]
    prompts = random.Random(SAMPLE_SEED).sample(short, NUM_SAMPLES)
    settings = ", ".join(f"{name} {value}" for name, value in SAMPLING.items())
    drawn = f"Prompts of up to {PROMPT_CHARS} characters, drawn with seed {SAMPLE_SEED} from held-out conversations"
    lines = [f"## {NUM_SAMPLES} answers, unedited\n", f"{drawn}; {settings}, seed = number."]
    for number, prompt in enumerate(prompts, start=1):
        answer = model.chat([{"role": "user", "content": prompt}], seed=number, max_new_tokens=MAX_ANSWER_TOKENS).read()
        lines.append(f"\n{number}. {quoted(prompt)}\n\n{quoted(answer, '   > ')}")
    return "\n".join(lines) + "\n"


def quoted(text: str, prefix: str = "   ") -> str:
    """Text as lines of a list entry."""
    return "\n".join(f"{prefix}{line}" for line in text.strip().splitlines()).lstrip(" " if prefix == "   " else "")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s")
