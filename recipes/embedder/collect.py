"""Reads the sources: articles as titles and paragraphs, parallel rows, terms with their English name, questions.

Documents that share a passage with the question sets of the evaluation are left out, whoever quotes whom.
"""

import gzip
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.question_sets import read_set
from rag.text import fold
from recipes.embedder.sources import ARTICLES, PARALLEL, QUESTIONS

MIN_PARAGRAPH, MAX_PARAGRAPH = {"en": 120, "zh": 40}, {"en": 1000, "zh": 400}
SHINGLE = {"en": 60, "zh": 20}  # characters without spaces: about twelve English words
LEFT_OUT = "left out: shares a passage with the evaluation"
STEP = 10  # of a document's shingles looked up; the evaluation's are all known
NO_WORD = re.compile(r"\W+")
SENTENCE_END = re.compile(r"(?<=[。！？；])|(?<=[.!?;])\s+|\n+")
TERM = re.compile(r"([\u4e00-\u9fff·]{2,16})[（(](?:英[语文][：:]?\s*)?([A-Z][A-Za-z .'\-]{2,40})(?=[,，;；)）])")


@dataclass(frozen=True, slots=True)
class Article:
    language: str
    title: str
    paragraphs: list[list[str]]  # each a list of sentences


Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """All that the embedder learns from, folded; `counts` says how much came from each source."""

    articles: list[Article]
    parallel: Pairs
    terms: Pairs
    questions: Pairs
    counts: dict[str, int]

    def to_bytes(self) -> bytes:
        """As JSON, packed."""
        return gzip.compress(json.dumps(asdict(self), ensure_ascii=False).encode(), compresslevel=1)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Corpus":
        """What `to_bytes` wrote."""
        fields = json.loads(gzip.decompress(raw))
        found = [Article(**each) for each in fields["articles"]]
        names = ("parallel", "terms", "questions")
        pairs = {name: [(one, other) for one, other in fields[name]] for name in names}
        return cls(found, counts=fields["counts"], **pairs)


def corpus(data: Path, qa: Path) -> Corpus:
    """Read every source below `data`, but for what the question sets in `qa` quote."""
    counts: Counter[str] = Counter()
    found = list(articles(data, heldout_shingles(qa), counts))
    return Corpus(found, parallel(data, counts), terms(data), questions(data, counts), dict(counts))


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of JSON lines or of a JSON list, packed by gzip or not."""
    with path.open("rb") as raw, gzip.open(raw) if path.suffix == ".gz" else raw as file:
        if ".jsonl" in path.name:
            yield from (json.loads(line) for line in file)
        else:
            yield from json.load(file)


def texts(path: Path) -> Iterator[str]:
    """The texts of JSON lines, or of the files in a tar, without code and links' addresses."""
    if not path.name.endswith(".tar.gz"):
        yield from (row["text"] for row in rows(path))
        return
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                yield _prose(file.read().decode("utf-8", "replace"))


def article(text: str, language: str) -> Article | None:
    """A text as title and paragraphs of a chunk's size; None when hardly anything is left."""
    lines = [line.strip(" #*=-\t\u3000") for line in text.splitlines()]
    title = next((line for line in lines if line), "")[:80]
    paragraphs: list[list[str]] = []
    current: list[str] = []
    for line in lines:
        for sentence in (piece.strip() for piece in SENTENCE_END.split(line)):
            if sum(map(len, current)) + len(sentence) > MAX_PARAGRAPH[language] and current:
                paragraphs.append(current)
                current = []
            if sentence:
                current.append(sentence)
        if sum(map(len, current)) >= MIN_PARAGRAPH[language]:
            paragraphs.append(current)
            current = []
    kept = [part for part in paragraphs if len(part) > 1 and sum(map(len, part)) >= MIN_PARAGRAPH[language]]
    return Article(language, title, kept) if kept else None


def shingles(folded: str, language: str, step: int = 1) -> set[int]:
    """Hashes of the runs of SHINGLE characters that start at every `step`-th of a folded text."""
    squeezed = NO_WORD.sub("", folded)
    size = SHINGLE[language]
    return {hash(squeezed[start : start + size]) for start in range(0, len(squeezed) - size + 1, step)}


def heldout_shingles(qa: Path) -> set[int]:
    """Of all passages in the question sets (SQuAD format) of a folder."""
    found: set[int] = set()
    for path in sorted([*qa.glob("xquad*.json"), *qa.glob("cmrc*.json*"), *qa.glob("squad*.json.gz")]):
        for passage in read_set(path).passages:
            for language in SHINGLE:
                found |= shingles(fold(passage), language)
    return found


def articles(data: Path, heldout: set[int], report: dict[str, int]) -> Iterator[Article]:
    """All articles, less those that share a passage with `heldout`; counts into `report`."""
    for source in ARTICLES:
        kept = 0
        for text in texts(data / source.path):
            if kept >= source.max_documents:
                break
            folded = fold(text)
            if not heldout.isdisjoint(shingles(folded, source.language, STEP)):
                report[LEFT_OUT] += 1
                continue
            found = article(folded, source.language)
            if found is not None:
                kept += 1
                yield found
        report[source.path] = kept


def parallel(data: Path, report: dict[str, int]) -> list[tuple[str, str]]:
    """English and Chinese that say the same: rows of the parallel sets."""
    pairs = []
    for source in PARALLEL:
        found = [(fold(row["en"]), fold(row["zh"])) for row in rows(data / source.path)]
        report[source.path] = len(found)
        pairs += found
    return pairs


def terms(data: Path) -> list[tuple[str, str]]:
    """English names with the Chinese words before their bracket in Chinese articles: «有线电视新闻网（CNN）»."""
    found = set()
    for source in ARTICLES:
        if source.language == "zh":
            for text in texts(data / source.path):
                found |= {(fold(english), fold(chinese)) for chinese, english in TERM.findall(text)}
    return sorted(found)


def questions(data: Path, report: dict[str, int]) -> list[tuple[str, str]]:
    """Instructions with their answers."""
    pairs = []
    for source in QUESTIONS:
        found = [_question(row) for row in rows(data / source.path)]
        report[source.path] = len(found)
        pairs += found
    return [(fold(question), fold(answer)) for question, answer in pairs if question and answer]


def _question(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['instruction']} {row.get('input') or ''}".strip(), row["output"][:1000]


def _prose(text: str) -> str:
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
