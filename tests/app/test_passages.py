"""Passages as Markdown and HTML: numbers, marks, and documents that would like to be more than text."""

from pathlib import Path

import pytest

from app import passages
from app.passages import Place, cited_markdown, context_html, extract_markdown, hits_html, marked, without_markers
from rag.citations import Citation, Sentence
from rag.hits import Hit, Leg

HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) **bold** `code` $$x$$"


def hit(text: str = "The lease ends in March.", chunk_id: int = 7, start: int = 100) -> Hit:
    legs = {"keyword": Leg(1, 0.5), "dense": Leg(None, 0.25)}
    return Hit(
        Path("/files/lease.pdf"), "home", "Lease", "pdf", 3, 4, chunk_id, 2, start, start + len(text), text,
        ("Terms", "End"), 0.9, 0.8, 2.5, legs,
    )  # fmt: skip


def sentence(answer: str, text: str, *cited: Hit) -> Sentence:
    start = answer.index(text)
    citations = tuple(Citation(one, one.start, one.end, 0.9) for one in cited)
    return Sentence(text, start, start + len(text), 0.9, citations)


def test_each_sentence_gets_the_numbers_of_its_sources_or_the_mark_of_none() -> None:
    answer = "It ends in March. The cat is red. It ends soon.\n"
    one, two = hit(), hit("Soon.", chunk_id=9, start=500)
    sentences = [
        sentence(answer, "It ends in March.", one),
        sentence(answer, "The cat is red."),
        sentence(answer, "It ends soon.", two, one),
    ]
    assert cited_markdown(answer, sentences, "en") == (
        "It ends in March.[1](/library/passage/3/100/124) The cat is red.[no source](#no-source)"
        " It ends soon.[2](/library/passage/3/500/505)[1](/library/passage/3/100/124)\n"
    )


@pytest.mark.parametrize("language", ["en", "zh"])
def test_without_its_markers_an_answer_is_what_the_model_wrote(language: str) -> None:
    answer = "One [1](https://example.com) two. 第二句。Three!"
    sentences = [sentence(answer, "第二句。", hit()), sentence(answer, "Three!")]
    assert without_markers(cited_markdown(answer, sentences, language)) == answer


def test_code_is_not_cut_by_markers() -> None:
    answer = "Before.\n```\ncode here.\n```\nAfter."
    sentences = [sentence(answer, text) for text in ("Before.", "code here.", "After.")]
    assert "\n```\ncode here.\n```\n" in cited_markdown(answer, sentences, "en")


def test_a_quotation_shows_the_sentence_within_its_passage() -> None:
    found = hit("Before it. The lease ends. After it.")
    citation = Citation(found, 111, 126, 0.9)
    text = extract_markdown([Sentence("The lease ends.", 0, 15, 0.9, (citation,))])
    assert text == (
        "> Before it&#46; **The lease ends&#46;**[1](/library/passage/3/111/126) After it&#46;"
    )  # fmt: skip


def test_markup_of_a_document_stays_text() -> None:
    found = hit(HOSTILE)
    quoted = extract_markdown([Sentence(HOSTILE, 0, 9, 0.9, (Citation(found, found.start, found.end, 0.9),))])
    listed = passages.sources_markdown([found], {}, "en")
    for text in (quoted, listed):
        assert "<img" not in text
        assert "](javascript" not in text
        assert "`" not in text
    for page in (hits_html("lease", [found], "en"), context_html(HOSTILE, 0, 5), marked(HOSTILE, "bold onerror")):
        assert "<img" not in page


def test_words_of_the_question_are_marked_where_they_stand_alone() -> None:
    assert marked("How it was shown: a showing", "how") == "<mark>How</mark> it was shown: a showing"
    assert marked("合同在三月到期", "合同何时到期") == "<mark>合同</mark>在三月<mark>到期</mark>"
    assert marked("a < b", "?") == "a &lt; b"


def test_a_result_tells_the_rank_of_each_leg() -> None:
    page = hits_html("lease", [hit()], "en")
    assert Place(3, 100, 124).address in page
    assert "<th>By words</th><td>rank 1</td><td>0.500</td>" in page
    assert "<th>By meaning</th><td>not among the first</td><td>0.250</td>" in page


def test_the_text_around_a_passage_is_cut_and_marked() -> None:
    page = context_html("a" * 2000 + "HERE" + "b" * 2000, 2000, 2004)
    assert '<mark id="passage">HERE</mark>' in page
    assert page.count("…") == 2
    assert len(page) < 2000
