"""Refusals and citations: whether the library knows what it does not know, and where a sentence stands."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.question_sets import CHINESE, Question, QuestionSet
from benchmarks.rag_sets import Corpus, table
from rag.chunking import sentences
from rag.citations import Attributor
from rag.gate import Gate, Signs, Weights, null_cosine, null_queries
from rag.retrieval import EVERYTHING
from rag.text import terms

if TYPE_CHECKING:
    from rag.embedding import Embedder

ASKED = 300  # questions of each kind
ASKED_SMALL = 20  # of a small library
SMALL_SIZES, SMALL_LIBRARIES = (3, 10, 40), 3  # passages; of each size
ANSWERED, OF_OTHERS, MISLEADING = "answered", "of other articles", "made to mislead"
OTHER = {"xquad.en": "xquad.zh", "xquad.zh": "xquad.en"}  # parallel sets
FALSE_REFUSALS = 0.05  # of answered questions of the half that fits, at most
ANSWERS = 200
FALSE = 100
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A question asked of half the articles: of which kind it is, and what the gate sees; None without hits."""

    label: str
    kind: str
    signs: Signs | None


def measure_refusals(folder: Path, sets: dict[str, QuestionSet], embedder: "Embedder", *, tune: bool) -> dict[str, Any]:
    """How often the gate refuses: questions that are answered, that ask of articles which are not there, and that were
    written to look answerable and are not (SQuAD 2.0)."""
    gate = fit_gate(ask_half(folder / "tune", sets, embedder, half=0)) if tune else Gate()
    asked = ask_half(folder / "report", sets, embedder, half=1)
    refused: dict[tuple[str, str], list[bool]] = {}
    for each in asked:
        is_refused = each.signs is None or not gate.passes(each.signs)
        refused.setdefault((each.label, each.kind), []).append(is_refused)
    rows: list[Sequence[Any]] = [("refusals", "asked", "refused", "precision", "recall")]
    found: dict[str, Any] = {}
    for (label, kind), group in refused.items():
        share, false = float(np.mean(group)), float(np.mean(refused[label, ANSWERED]))
        figures: dict[str, Any] = {"refused": round(share, 3)}
        if kind != ANSWERED:
            figures |= {"precision": round(share / max(share + false, 1e-9), 3), "recall": round(share, 3)}
        found[f"{label}, {kind}"] = figures
        rows.append(
            (f"{label}, {kind}", len(group), *(figures.get(key, "") for key in ("refused", "precision", "recall")))
        )
    print(table(rows), "\n")
    return {"refusals": found}


def ask_half(folder: Path, sets: dict[str, QuestionSet], embedder: "Embedder", *, half: int) -> list[Asked]:
    """Ask libraries that hold only articles of even (0) or odd (1) number, all or a few, also in the other language."""
    asked: list[Asked] = []
    for name, found in sets.items():
        whole = [number for number, article in enumerate(found.articles) if article % 2 == half]
        for number, (label, kept) in enumerate(((name, whole), *_small_libraries(name, found, half))):
            corpus = Corpus(folder / f"{name}-{number}", embedder, [found.passages[place] for place in kept])
            asked += _ask(corpus, label, found, set(kept), ASKED if label == name else ASKED_SMALL)
            if label == name and name in OTHER:
                asked += _ask(corpus, f"{OTHER[name]} on {name}", sets[OTHER[name]], set(kept), ASKED)
            corpus.close()
    return asked


def _small_libraries(name: str, found: QuestionSet, half: int) -> Iterator[tuple[str, list[int]]]:
    """A few passages of articles drawn from a half: what a library holds on its first day."""
    draw = random.Random(half)  # noqa: S311 - a seeded draw
    articles = sorted({article for article in found.articles if article % 2 == half})
    for size in SMALL_SIZES:
        for _ in range(SMALL_LIBRARIES):
            order = draw.sample(articles, len(articles))
            places = [place for article in order for place, own in enumerate(found.articles) if own == article]
            yield f"{name}, {size} passages", places[:size]


def _ask(corpus: Corpus, label: str, found: QuestionSet, kept: set[int], limit: int) -> Iterator[Asked]:
    """Ask a library that holds these passages of a set the set's questions, so many of each kind."""
    passages = [chunk.text for chunk in corpus.store.sample_chunks(400, EVERYTHING)]
    null = null_cosine(corpus.retriever.best_cosines(null_queries(passages)))
    rarity = corpus.retriever.vocabulary.rarity()
    for kind, group in question_groups(found, kept, limit).items():
        for question in group:
            hits = corpus.retriever.search(question.text, SHOWN)
            signs = Signs.of(question.text, hits, null_cosine=null, rarity=rarity) if hits else None
            yield Asked(label, kind, signs)


def question_groups(found: QuestionSet, kept: set[int], limit: int) -> dict[str, list[Question]]:
    """Questions on the passages that are kept, answered and not; and on articles of which none is."""
    draw = random.Random(0)  # noqa: S311 - a seeded draw
    articles = {found.articles[place] for place in kept}
    groups: dict[str, list[Question]] = {ANSWERED: [], OF_OTHERS: [], MISLEADING: []}
    for question in found.questions:
        if question.gold in kept:
            groups[MISLEADING if question.is_impossible else ANSWERED].append(question)
        elif not question.is_impossible and question.article not in articles:
            groups[OF_OTHERS].append(question)
    return {kind: draw.sample(group, min(limit, len(group))) for kind, group in groups.items()}


def fit_gate(asked: Sequence[Asked]) -> Gate:
    """Logistic regressions: answered questions against those of other articles."""
    seen = [(each.signs, each.kind == ANSWERED) for each in asked if each.signs and each.kind != MISLEADING]
    own = [(signs, right) for signs, right in seen if not signs.is_foreign]
    gate = Gate(
        latin=_fitted([each for each in own if not each[0].is_han], "score", "nearness", "rarity"),
        han=_fitted([each for each in own if each[0].is_han], "score", "nearness", "rarity"),
        foreign=_fitted([each for each in seen if each[0].is_foreign], "nearness"),
    )
    print(f"{gate}\n")
    return gate


def _fitted(seen: Sequence[tuple[Signs, bool]], *names: str) -> Weights:
    """Weights by Newton's method with a little shrinkage, and a bias that refuses few of the answered questions."""
    signs = np.array([[1.0, *(getattr(each, name) for name in names)] for each, _ in seen])
    right = np.array([is_right for _, is_right in seen], float)
    weights = np.zeros(signs.shape[1])
    for _ in range(20):
        chances = 1 / (1 + np.exp(-signs @ weights))
        slope = signs.T @ (right - chances) - 0.1 * weights
        curve = (signs * (chances * (1 - chances))[:, None]).T @ signs + 0.1 * np.eye(len(weights))
        weights += np.linalg.solve(curve, slope)
    weights[0] -= min(0.0, float(np.quantile((signs @ weights)[right == 1], FALSE_REFUSALS)))
    bias, *rest = (round(float(weight), 3) for weight in weights)
    return Weights(bias, **dict(zip(names, rest, strict=True)))


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
            said = rest[:1].upper() + rest[1:] if is_short else shorter
            return said if len(list(sentences(said))) == 1 and len(terms(said)) > 3 else None
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
