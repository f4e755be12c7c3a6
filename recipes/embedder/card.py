"""The embedder's card: what it was trained on, how large and fast it is, how well it finds things."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.question_sets import SETS, read_set
from rag.embedding.static import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, StaticEmbedder
from recipes.embedder.collect import LEFT_OUT
from recipes.embedder.evaluate import TASKS
from recipes.embedder.sources import SOURCES

Scores = Mapping[str, Mapping[str, tuple[float, float]]]
# Over words and pairs of Chinese characters, measured once beside these sets.
BM25 = {"squad2": (0.800, 0.939), "xquad.en": (0.918, 0.986), "xquad.zh": (0.923, 0.991), "cmrc": (0.973, 0.991)}
HEAD = """---
language: [en, zh]
license: cc-by-sa-4.0
---

# AstrAI embedder

A bilingual static embedder: one vector a token; a text's vector is the sum of its tokens', a repeated one counting
log₂(1 + n) times, at unit length. It finds passages in the library of AstrAI before any download, in English and
Chinese, and across the two as far as its words reach. Trained by `recipes/embedder` from openly licensed text; read by
numpy and `tokenizers` alone.

"""
LIMITS = """
**Limits.** The order of words says nothing to it: "dog bites man" and "man bites dog" are one text. Words it has
not met are pieces or nothing, names above all; across languages it knows what {parallel:,} parallel rows and the
names in brackets of Chinese articles could teach, so everyday and software words well, other subjects thinly. In one
language, exact words find more than it does (BM25 below): use both. Its scores are no probabilities. The text it
learnt from holds the views of its authors and times.
"""


def measure(folder: Path, qa: Path) -> dict[str, float]:
    """Milliseconds to load, and texts a second of one thread for each kind of text in the question sets."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    started = time.perf_counter()
    embedder = StaticEmbedder(folder)
    figures = {"load ms": 1000 * (time.perf_counter() - started)}
    english, chinese = read_set(qa / SETS["squad2"]), read_set(qa / SETS["xquad.zh"])
    asked = [question.text for question in english.answerable()]
    kinds = {
        f"English questions (of {_mean_length(asked)} characters)": asked,
        f"English passages ({_mean_length(english.passages)})": english.passages,
        f"Chinese passages ({_mean_length(chinese.passages)})": chinese.passages,
    }
    embedder.encode_passages(["warm", "暖"])
    for kind, texts in kinds.items():
        started = time.process_time()
        embedder.encode_passages(texts)
        figures[kind] = len(texts) / (time.process_time() - started)
    return figures


def _mean_length(texts: list[str]) -> int:
    return sum(map(len, texts)) // len(texts)


def card(
    folder: Path, scores: Scores, counts: Mapping[str, int], facts: Mapping[str, float], speed: Mapping[str, float]
) -> str:
    """The text of README.md."""
    embedder = StaticEmbedder(folder)
    size = sum((folder / name).stat().st_size for name in (CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE))
    speeds = ", ".join(f"{rate:,.0f} {kind}" for kind, rate in speed.items() if kind != "load ms")
    parallel = sum(count for path, count in counts.items() if "/parallel/" in path)
    shape = f"{embedder.vocab_size:,} tokens × {embedder.dim} dimensions, int8 with one scale a token"
    trained = f"{facts['steps']:,.0f} steps in {facts['minutes']:.0f} minutes of training"
    lines = (
        f"- {shape}: {size / 1e6:.1f} MB together.",
        f"- Loads in {speed['load ms']:.0f} ms; a second of one CPU thread embeds {speeds}.",
        f"- {trained}, {facts['threads']:.0f} CPU thread.",
        LIMITS.format(parallel=parallel),
        _scores(scores),
        _data(counts, bool(facts["teacher"])),
    )
    return HEAD + "\n".join(lines)


def _scores(scores: Scores) -> str:
    columns = {**scores, "BM25": BM25}
    lines = [
        "## Finding the right passage\n",
        "R@1 / R@5, all passages of a set as the corpus, answerable questions. No set here was trained on.\n",
        f"| set | {' | '.join(columns)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    for name in TASKS:
        cells = [f"{found[name][0]:.3f} / {found[name][1]:.3f}" if name in found else "–" for found in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _data(counts: Mapping[str, int], has_teacher: bool) -> str:
    lines = ["## Data and licences\n", "| source | licence | documents or rows |", "|---|---|---|"]
    lines += [f"| {source.path} | {source.licence} | {counts[source.path]:,} |" for source in SOURCES]
    teacher = (
        "The rows of English pieces started from the vectors that all-MiniLM-L6-v2 (Apache-2.0) gives them. "
        if has_teacher
        else ""
    )
    return "\n".join(lines) + (
        f"\n\n{teacher}No set for evaluation and no set whose licence forbids commercial use is among them; "
        f"{counts.get(LEFT_OUT, 0):,} documents were left out because they share a "
        "passage with a set above. The weights are under CC BY-SA 4.0, the strictest of the sources' licences; "
        "Wikipedia, Tatoeba and the CC BY texts ask for attribution, which this table gives.\n"
    )
