"""Passages cover the text in order, in bounds, cut where a reader would cut."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.chunking import chunk, sentences
from rag.documents import Heading, Page, ParsedDocument

PROSE = st.text(st.sampled_from("ab cd. 。，！?\n\n\n|#-—中文字é😀\t  "), max_size=600)


def count_words(text: str) -> int:
    """As a tokenizer would: a Chinese character is one, a run of letters is one, a sign is one."""
    return len(re.findall(r"[\u2e80-\uffef]|\w+|[^\w\s]", text))


def document(text: str, kind: str = "txt", **fields: object) -> ParsedDocument:
    return ParsedDocument(kind, "A title", text, **fields)  # type: ignore[arg-type]


def texts_of(parsed: ParsedDocument, **options: int) -> list[str]:
    return [parsed.text[one.start : one.end] for one in chunk(parsed, count_words, **options)]


@given(text=PROSE, kind=st.sampled_from(["txt", "csv"]), count=st.sampled_from([count_words, len]))
def test_passages_cover_all_text_in_order_and_in_bounds(text: str, kind: str, count: object) -> None:
    parsed = document(text, kind, headings=(Heading(0, min(3, len(text)), 1),) if text.strip() else ())
    chunks = chunk(parsed, count, target=15, maximum=20)  # type: ignore[arg-type]
    covered = {place for one in chunks for place in range(one.start, one.end)}
    assert {place for place, character in enumerate(text) if not character.isspace()} <= covered
    assert all(count(text[one.start : one.end]) <= 20 for one in chunks)  # type: ignore[operator]
    assert [one.start for one in chunks] == sorted({one.start for one in chunks})
    assert [one.end for one in chunks] == sorted({one.end for one in chunks})


@given(text=PROSE)
def test_sentences_are_whole_words_in_order(text: str) -> None:
    spans = list(sentences(text))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("今天很好。明天呢？“好！”他说。", ["今天很好。", "明天呢？", "“好！”", "他说。"]),
        ("Pi is 3.14, see example.com. Done", ["Pi is 3.14, see example.com.", "Done"]),
        ("Dr. Smith met J. Doe, e.g. here. Next", ["Dr. Smith met J. Doe, e.g. here.", "Next"]),
        ("(He left.) Then: nothing", ["(He left.)", "Then: nothing"]),
        ("a line\nanother", ["a line", "another"]),
        (
            "A line that is broken by a width of about fifty\ncolumns goes on. New",
            ["A line that is broken by a width of about fifty\ncolumns goes on.", "New"],
        ),
        ("- an item in a list that is long enough to wrap it\n- another", None),
    ],
)
def test_sentences_end_where_they_end(text: str, expected: list[str] | None) -> None:
    assert [text[start:end] for start, end in sentences(text)] == (expected or text.split("\n"))


def test_a_sentence_is_not_cut_and_the_last_one_is_repeated() -> None:
    text = " ".join(f"Sentence number {i} is here." for i in range(12))
    passages = texts_of(document(text), target=30, maximum=40)
    assert all(passage.startswith("Sentence") and passage.endswith("here.") for passage in passages)
    assert all(before.endswith(after[: after.index(".") + 1]) for before, after in itertools.pairwise(passages))


def test_a_sentence_longer_than_a_passage_is_cut_at_spaces() -> None:
    text = "word " * 100
    assert {passage.strip("word ") for passage in texts_of(document(text), target=10, maximum=12)} == {""}
    assert max(map(count_words, texts_of(document(text), target=10, maximum=12))) <= 12


def test_rows_stay_whole() -> None:
    rows = [f"{i} | name {i}. | value。{i}" for i in range(40)]
    passages = texts_of(document("\n".join(rows), "csv"), target=30, maximum=40)
    assert all(line in rows for passage in passages for line in passage.split("\n"))


def test_headings_cut_and_name_their_passages() -> None:
    body = " ".join(["Some words stand here."] * 12)
    text = f"Top\n\n{body}\n\nFirst\n\n{body}\n\nSecond\n\n{body}"
    headings = tuple(
        Heading(text.index(word), text.index(word) + len(word), level)
        for word, level in [("Top", 1), ("First", 2), ("Second", 2)]
    )
    chunks = chunk(document(text, headings=headings), count_words, target=90, maximum=120)
    assert [one.headings for one in chunks] == [("Top",), ("Top", "First"), ("Top", "Second")]
    assert text[chunks[1].start :].startswith("First")


def test_a_title_alone_is_no_passage() -> None:
    text = "A title\n\nA second title\n\nSome words."
    headings = (Heading(0, 7, 1), Heading(9, 23, 2))
    assert texts_of(document(text, headings=headings)) == [text]


def test_a_passage_has_the_page_it_starts_on() -> None:
    text = "First page.\n\nSecond page. " + "It goes on. " * 60
    pages = (Page(1, 0, 11, 600, 800), Page(2, 13, len(text), 600, 800))
    chunks = chunk(document(text, pages=pages), count_words, target=50, maximum=60)
    assert [one.page for one in chunks] == [1] + [2] * (len(chunks) - 1)
    assert [one.page for one in chunk(document("No pages."), count_words)] == [None]


@pytest.mark.timeout(20)
def test_a_line_of_a_million_characters_takes_a_bounded_time() -> None:
    for text in ("字" * 1_000_000, "a" * 1_000_000, "." * 300_000 + "x", "\n" * 500_000 + "x", " " * 500_000 + "x"):
        chunks = chunk(document(text), len, target=180, maximum=240)
        assert max(one.end - one.start for one in chunks) <= 240
