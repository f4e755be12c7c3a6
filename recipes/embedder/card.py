"""The embedder's card: what it was trained on, how large and fast it is, how well it finds things."""

import time
from collections.abc import Mapping
from pathlib import Path

from rag.embedding.static import CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE, StaticEmbedder
from recipes.embedder.evaluate import SETS
from recipes.embedder.sources import SOURCES

Scores = Mapping[str, Mapping[str, tuple[float, float]]]
# Measured once over the library's own keyword index: SQLite FTS5 over words and CJK bigrams.
BM25 = {"squad2": (0.800, 0.939), "xquad.en": (0.918, 0.986), "xquad.zh": (0.923, 0.991), "cmrc": (0.973, 0.991)}
HEAD = """---
language: [en, zh]
license: cc-by-sa-4.0
---

# AstrAI embedder

A bilingual static embedder: one vector a token, a text's vector is their sum at unit length. It finds passages in
the library of AstrAI before any download, in English and Chinese, and across the two as far as its words reach.
Trained by `recipes/embedder` from openly licensed text; read by numpy and `tokenizers`.

"""
LIMITS = """
**Limits.** The order of words says nothing to it: "dog bites man" and "man bites dog" are one text. Words it has
not met are pieces or nothing, names above all; across languages it knows what {parallel:,} parallel rows and the
names in brackets of Chinese articles could teach, so everyday and software words well, other subjects thinly. In one
language, exact words find more than it does (BM25 below): use both. Its scores are no probabilities. The text it
learnt from holds the views of its authors and times.
"""
SPEED_TEXTS = {
    "questions of 12 words": "in what year did the river flood the old town near the bridge",
    "passages of 150 words": " ".join(
        ["the river flooded the old town near the bridge in the autumn of that year"] * 10
    ),
    "Chinese passages of 300 characters": "河水在那年秋天淹没了桥边的老城。" * 19,
}


def measure(folder: Path, count: int = 2000) -> dict[str, float]:
    """Milliseconds to load and texts a second of each kind."""
    started = time.perf_counter()
    embedder = StaticEmbedder(folder)
    figures = {"load ms": 1000 * (time.perf_counter() - started)}
    embedder.encode_passages(["warm", "暖"])
    for kind, text in SPEED_TEXTS.items():
        started = time.perf_counter()
        embedder.encode_passages([text] * count)
        figures[kind] = count / (time.perf_counter() - started)
    return figures


def card(
    folder: Path, scores: Scores, counts: Mapping[str, int], facts: Mapping[str, float], speed: Mapping[str, float]
) -> str:
    """The text of README.md."""
    embedder = StaticEmbedder(folder)
    size = sum((folder / name).stat().st_size for name in (CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE))
    speeds = ", ".join(f"{rate:,.0f} {kind}" for kind, rate in speed.items() if kind != "load ms")
    parallel = sum(count for path, count in counts.items() if "/parallel/" in path)
    shape = f"{embedder.vocab_size:,} tokens × {embedder.dim} dimensions, int8 with one scale a token"
    lines = (
        f"- {shape}: {size / 1e6:.1f} MB together.",
        f"- Loads in {speed['load ms']:.0f} ms; a second of one CPU thread embeds {speeds}.",
        f"- {facts['steps']:,.0f} steps, {facts['minutes']:.0f} minutes in all, {facts['threads']:.0f} CPU thread.",
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
    for name in SETS:
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
        f"{counts['left out: shares a passage with the evaluation']:,} documents were left out because they share a "
        "passage with a set above. The weights are under CC BY-SA 4.0, the strictest of the sources' licences; "
        "Wikipedia, Tatoeba and the CC BY texts ask for attribution, which this table gives.\n"
    )
