"""Passages as the page shows them: links to them, lists of them, and the text around one. Pure functions.

Everything here quotes documents, which are hostile: what goes into HTML or Markdown is escaped here and nowhere else.
"""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.i18n import TEXTS, t

if TYPE_CHECKING:
    from rag.citations import Citation, Sentence
    from rag.hits import Hit, Leg
    from rag.rows import ChunkRow

PASSAGE_PATH = "/library/passage/"
NO_SOURCE = "#no-source"
MARKER = re.compile(rf"\[[^\[\]\n]{{1,40}}\]\((?:{PASSAGE_PATH}\d+/\d+/\d+|{NO_SOURCE})\)")
ALONE = re.compile(r"\A\*(?:" + "|".join(map(re.escape, TEXTS["alone"].values())) + r")\*\n\n")
MARKDOWN = re.compile(r"[!-/:-@\[-`{-~]")
FENCE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
EMPTY_LINES = re.compile(r"\n\s*\n")
SNIPPET_CHARS = 160
CONTEXT_CHARS = 900
WORD = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+|[^\W_]+")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
MIN_MARKED_CHARS = 3  # of a Latin word that is marked where it stands


@dataclass(frozen=True, slots=True)
class Place:
    """Characters [start, end) of a document's text."""

    document_id: int
    start: int
    end: int

    @property
    def address(self) -> str:
        return f"{PASSAGE_PATH}{self.document_id}/{self.start}/{self.end}"


def place_of(found: "Hit | Citation") -> Place:
    """Where a hit or a citation stands."""
    hit: Any = getattr(found, "hit", found)
    return Place(hit.document_id, found.start, found.end)


def page_of(citation: "Citation") -> int | None:
    """The page that a citation begins on, where its document has pages."""
    from rag.parsing import passage_boxes

    boxes = passage_boxes(citation.hit.lines, citation.start, citation.end)
    return boxes[0][0] if boxes else citation.hit.page


# Markdown, for the conversation


def to_markdown(text: str) -> str:
    """Text that Markdown and HTML leave as it is, in one line."""
    return MARKDOWN.sub(lambda match: f"&#{ord(match.group())};", " ".join(text.split()))


def lines_markdown(text: str) -> str:
    """Plain lines and lists of them as Markdown, each line escaped."""
    lines = text.splitlines()
    return "\n".join(f"- {to_markdown(line[2:])}" if line.startswith("- ") else to_markdown(line) for line in lines)


def cited_markdown(answer: str, sentences: Sequence["Sentence"], language: str) -> str:
    """An answer with a numbered link after each sentence that has a source, and a mark after each that has none.

    What stands in a block of code gets none.
    """
    numbers = source_numbers(sentences)
    code = [match.span() for match in FENCE.finditer(answer)]
    text = answer
    for sentence in reversed(sentences):
        if any(start < sentence.end <= end for start, end in code):
            continue
        marks = "".join(
            f"[{numbers[citation.hit.chunk_id]}]({place_of(citation).address})" for citation in sentence.citations
        )
        text = text[: sentence.end] + (marks or f"[{t('no_source', language)}]({NO_SOURCE})") + text[sentence.end :]
    return text


def source_numbers(sentences: Iterable["Sentence"]) -> dict[int, int]:
    """The number of each cited passage by its chunk id, from 1 in the order of the answer."""
    numbers: dict[int, int] = {}
    for sentence in sentences:
        for citation in sentence.citations:
            numbers.setdefault(citation.hit.chunk_id, len(numbers) + 1)
    return numbers


def without_markers(text: str) -> str:
    """The answer as the model wrote it."""
    return MARKER.sub("", ALONE.sub("", text))


def extract_markdown(sentences: Sequence["Sentence"]) -> str:
    """Sentences of documents as quotations, each with the rest of its passage around it and a link."""
    numbers = source_numbers(sentences)
    quotes = []
    for sentence in sentences:
        for citation in sentence.citations[:1]:
            hit = citation.hit
            before = hit.text[: citation.start - hit.start]
            after = hit.text[citation.end - hit.start :]
            link = f"[{numbers[hit.chunk_id]}]({place_of(citation).address})"
            around = (to_markdown(_shortened(before, from_end=True)), to_markdown(_shortened(after)))
            quotes.append(f"> {around[0]} **{to_markdown(citation.text)}**{link} {around[1]}".replace(">  **", "> **"))
    return "\n\n".join(quotes)


def nearest_markdown(hits: Sequence["Hit"], language: str) -> str:
    """A numbered list of passages."""
    return "\n".join(_source_line(hit, number, language) for number, hit in enumerate(hits, 1))


def sources_markdown(hits: Sequence["Hit"], numbers: dict[int, int], language: str) -> str:
    """A list of passages, the cited ones first with their numbers."""
    ordered = sorted(hits, key=lambda hit: numbers.get(hit.chunk_id, len(numbers) + 1))
    return "\n".join(_source_line(hit, numbers.get(hit.chunk_id), language) for hit in ordered)


def _source_line(hit: "Hit", number: int | None, language: str) -> str:
    page = f" · {t('page', language, page=hit.page)}" if hit.page else ""
    link = f"[{number or '·'}]({place_of(hit).address})"
    return f"- {link} **{to_markdown(hit.path.name)}**{page} — {to_markdown(_shortened(hit.text))}"


def _shortened(text: str, *, from_end: bool = False) -> str:
    """The beginning or the end of a text."""
    if len(text) <= SNIPPET_CHARS:
        return text
    return f"…{text[-SNIPPET_CHARS:]}" if from_end else f"{text[:SNIPPET_CHARS]}…"


# HTML


def marked(text: str, query: str) -> str:
    """Text as HTML, with the words of a question marked where they stand."""
    words = _words(query)
    if not words:
        return html.escape(text)
    pattern = "|".join(word if HAN.match(word) else rf"\b{word}\w{{0,3}}\b" for word in sorted(words, key=len)[::-1])
    parts: list[str] = []
    last = 0
    for match in re.finditer(pattern, text, re.IGNORECASE):
        parts += [html.escape(text[last : match.start()]), f"<mark>{html.escape(match.group())}</mark>"]
        last = match.end()
    return "".join([*parts, html.escape(text[last:])])


def _words(query: str) -> set[str]:
    """Words long enough to tell something, and the pairs of Chinese characters."""
    found: set[str] = set()
    for word in WORD.findall(query):
        if HAN.match(word):
            found.update(word[i : i + 2] for i in range(max(len(word) - 1, 1)))
        elif len(word) >= MIN_MARKED_CHARS:
            found.add(word)
    return found


def hits_html(query: str, hits: Sequence["Hit"], language: str) -> str:
    """The results of a search."""
    items = "".join(_hit_html(rank, query, hit, language) for rank, hit in enumerate(hits, 1))
    return f'<ol class="hits">{items}</ol>'


def _hit_html(rank: int, query: str, hit: "Hit", language: str) -> str:
    page = f"<span>{t('page', language, page=hit.page)}</span>" if hit.page else ""
    headings = html.escape(" › ".join(hit.headings))
    path = f'<div class="path">{headings}</div>' if headings else ""
    legs = "".join(_leg_html(name, leg, language) for name, leg in hit.legs.items())
    why = t("why_terms", language, coverage=f"{100 * hit.coverage:.0f}", deviations=f"{hit.deviations:.1f}")
    return (
        f'<li><a class="passage" href="{place_of(hit).address}"><div class="source"><b>{rank}</b>'
        f"<strong>{html.escape(hit.path.name)}</strong>{page}<span>{html.escape(hit.collection)}</span>"
        f'<span class="score">{t("score", language, score=f"{hit.score:.2f}")}</span></div>{path}'
        f"<p>{marked(_close(hit.text), query)}</p></a>"
        f"<details><summary>{t('why', language)}</summary><table>{legs}</table><p>{why}</p></details></li>"
    )


def _leg_html(name: str, leg: "Leg", language: str) -> str:
    titles = {"keyword": t("leg_keyword", language), "dense": t("leg_dense", language)}
    rank = t("leg_rank", language, rank=leg.rank) if leg.rank else t("leg_absent", language)
    return f"<tr><th>{html.escape(titles.get(name, name))}</th><td>{rank}</td><td>{leg.score:.3f}</td></tr>"


def _close(text: str) -> str:
    """A passage without its empty lines."""
    return EMPTY_LINES.sub("\n", text)


def chunks_html(document_id: int, chunks: Sequence["ChunkRow"], first: int, language: str) -> str:
    """Passages of a document, of which the first one shown has the number `first`."""
    items = "".join(
        f'<li value="{number}"><a class="passage" href="{Place(document_id, chunk.start, chunk.end).address}">'
        f'<div class="source"><b>{number}</b>'
        + (f"<span>{t('page', language, page=chunk.page)}</span>" if chunk.page else "")
        + f"<span>{html.escape(' › '.join(chunk.headings))}</span></div>"
        f"<p>{html.escape(_close(chunk.text))}</p></a></li>"
        for number, chunk in enumerate(chunks, first)
    )
    return f'<ol class="hits chunks">{items}</ol>'


def context_html(text: str, start: int, end: int) -> str:
    """Characters [start, end) of a text, marked, with what stands around."""
    first, last = max(start - CONTEXT_CHARS, 0), min(end + CONTEXT_CHARS, len(text))
    before = ("…" if first else "") + text[first:start]
    after = text[end:last] + ("…" if last < len(text) else "")
    return (
        f'<div class="text">{html.escape(before)}<mark id="passage">{html.escape(text[start:end])}</mark>'
        f"{html.escape(after)}</div>"
    )
