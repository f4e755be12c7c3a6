"""Refusals and citations: whether the library knows what it does not know, and where a sentence stands."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.rag_sets import CHINESE, Corpus, Question, QuestionSet, table
from rag.chunking import sentences
from rag.citations import Attributor
from rag.gate import Gate, null_deviations, null_queries
from rag.hits import Hit
from rag.retrieval import EVERYTHING
from rag.text import terms

if TYPE_CHECKING:
    from rag.embedding import Embedder

ASKED = 150  # questions of each kind
ANSWERS = 200
FALSE = 100
SHOWN = 5


def measure_refusals(folder: Path, sets: dict[str, QuestionSet], embedder: "Embedder") -> dict[str, Any]:
    """How often the gate refuses: questions that are answered, that ask of articles which are not there, and that were
    written to look answerable and are not (SQuAD 2.0)."""
    rows: list[Sequence[Any]] = [("refusals", "asked", "refused", "precision", "recall")]
    found: dict[str, Any] = {}
    for name, questions in sets.items():
        corpus = half_corpus(folder / f"half-{name}", questions, embedder)
        groups = question_groups(questions)
        refused = {kind: share_refused(corpus, asked) for kind, asked in groups.items() if asked}
        false = refused["answered"]
        for kind, share in refused.items():
            of_refusals = share / max(share + false, 1e-9)
            figures = {"refused": round(share, 3), "precision": round(of_refusals, 3), "recall": round(share, 3)}
            if kind == "answered":
                figures = {"refused": round(share, 3)}
            found[f"{name}, {kind}"] = figures
            rows.append(
                (
                    f"{name}, {kind}",
                    len(groups[kind]),
                    *(figures.get(key, "") for key in ("refused", "precision", "recall")),
                )
            )
        corpus.close()
    print(table(rows), "\n")
    return {"refusals": found}


def half_corpus(folder: Path, found: QuestionSet, embedder: "Embedder") -> Corpus:
    """The articles that report, alone: what the others ask is not there."""
    kept = [text for text, article in zip(found.passages, found.articles, strict=True) if article % 2]
    return Corpus(folder, embedder, kept)


def question_groups(found: QuestionSet) -> dict[str, list[Question]]:
    """Questions on the articles that report: answered, and not; and on the articles that are not there."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    answerable = found.answerable()
    groups = {
        "answered": [question for question in answerable if question.reports],
        "of other articles": [question for question in answerable if not question.reports],
        "made to mislead": [question for question in found.questions if question.is_impossible and question.reports],
    }
    return {kind: draw.sample(asked, min(ASKED, len(asked))) for kind, asked in groups.items()}


def gate_signs(corpus: Corpus, questions: Sequence[Question]) -> list[list[Hit]]:
    return [corpus.retriever.search(question.text, SHOWN) for question in questions]


def null_of(corpus: Corpus) -> float:
    """What meaningless questions reach in this corpus."""
    queries = null_queries([chunk.text for chunk in corpus.store.sample_chunks(400, EVERYTHING)])
    return null_deviations(corpus.retriever.best_deviations(queries))


def share_refused(corpus: Corpus, questions: Sequence[Question]) -> float:
    gate, null = Gate(), null_of(corpus)
    refused = [gate.probability(hits, null) < gate.threshold for hits in gate_signs(corpus, questions)]
    return float(np.mean(refused))


def measure_citations(sets: dict[str, QuestionSet], corpora: dict[str, Corpus]) -> dict[str, Any]:
    """Answers whose source is known, cited among the hits of their question; and the same made false."""
    rows: list[Sequence[Any]] = [("citations", "answers", "precision", "recall", "false", "marked", "wrongly marked")]
    found: dict[str, Any] = {}
    for language, names in (("en", ("squad2", "xquad.en")), ("zh", CHINESE)):
        totals = np.zeros(6)
        for name in names:
            totals += _cite(sets[name], corpora[name], ANSWERS // 4, FALSE // 4)
        cited, right, answers, marked, false, wrongly = totals.tolist()
        figures = {
            "precision": round(right / max(cited, 1), 3),
            "recall": round(right / max(answers, 1), 3),
            "false marked": round(marked / max(false, 1), 3),
            "wrongly marked": round(wrongly / max(answers, 1), 3),
        }
        found[f"citations {language}"] = figures
        values = list(figures.values())
        rows.append((language, int(answers), *values[:2], int(false), *values[2:]))
    print(table(rows), "\n")
    return found


def _cite(found: QuestionSet, corpus: Corpus, num_answers: int, num_false: int) -> np.ndarray[Any, Any]:
    """Counts: citations, right ones, answers, false sentences that were marked, false ones, true ones marked."""
    draw = random.Random(1)  # noqa: S311 - a seeded draw
    questions = [question for question in found.answerable() if question.reports]
    attributor = Attributor(corpus.embedder, corpus.retriever.vocabulary.idf_of)
    counts = np.zeros(6)
    for question in draw.sample(questions, len(questions)):
        claim = answer_sentence(found.passages[question.gold], question)
        hits = corpus.retriever.search(question.text, SHOWN)
        if claim is None or not any(hit.chunk_id == question.gold + 1 for hit in hits):
            continue
        if counts[2] < num_answers:
            (sentence, *_) = attributor.attribute(claim, hits)
            cited = [citation.hit.chunk_id == question.gold + 1 for citation in sentence.citations]
            counts[:3] += len(cited), sum(cited), 1
            counts[5] += not cited
        wrong = falsified(claim, draw)
        if wrong is not None and counts[4] < num_false:
            parts = attributor.attribute(wrong, hits)
            counts[3] += not all(part.is_supported for part in parts)
            counts[4] += 1
        if counts[2] >= num_answers and counts[4] >= num_false:
            break
    return counts


def answer_sentence(passage: str, question: Question) -> str | None:
    """The sentence of a passage that has the answer, said in another way: without its first clause or brackets."""
    for start, end in sentences(passage):
        text = passage[start:end]
        if question.answers and question.answers[0] in text and len(terms(text)) > 6:
            shorter = re.sub(r"\s*[(（][^)）]*[)）]", "", text)
            head, comma, rest = shorter.partition("，" if "，" in shorter else ", ")
            is_short = comma and len(head) < len(shorter) / 3 and question.answers[0] in rest
            return rest[:1].upper() + rest[1:] if is_short else shorter
    return None


def falsified(claim: str, draw: random.Random) -> str | None:
    """A claim made false: another number, a denial, another name or an opposite word."""
    ways = [_other_number, _denied, _other_name]
    draw.shuffle(ways)
    return next((wrong for way in ways if (wrong := way(claim)) is not None and wrong != claim), None)


def _other_number(claim: str) -> str | None:
    match = re.search(r"\d+", claim)
    return claim[: match.start()] + str(int(match[0]) + 7) + claim[match.end() :] if match else None


def _denied(claim: str) -> str | None:
    for positive, negative in (
        *((f" {verb} ", f" {verb} not ") for verb in ("is", "was", "are", "were", "has", "had", "can", "will")),
        ("是", "不是"),
        ("有", "没有"),
        ("可以", "不可以"),
    ):
        if positive in claim:
            return claim.replace(positive, negative, 1)
    return None


def _other_name(claim: str) -> str | None:
    match = re.search(r"(?<=[a-z,] )[A-Z][a-z]{3,}", claim)
    if match:
        return f"{claim[: match.start()]}Robertson{claim[match.end() :]}"
    match = re.search(r"[\u4e00-\u9fff]{2,3}(?=省|市|国|县|大学|公司)", claim)
    return f"{claim[: match.start()]}利比里亚{claim[match.end() :]}" if match else None
