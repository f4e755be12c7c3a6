"""How text is split for keyword search."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.text import _english_stem, fold, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cats were running", ["the", "cat", "were", "run"]),
        ("数据库", ["数据", "据库"]),
        ("我 x", ["我", "x"]),
        ("GPT-4在2023年", ["gpt", "4", "在", "2023", "年"]),
        ("臺灣的軟體", ["台湾", "湾的", "的软", "软体"]),
        ("Ｃａｆé naïve", ["cafe", "naiv"]),
        ("", []),
        ("…—！", []),
    ],
)
def test_a_text_becomes_words_and_pairs(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_traditional_and_simplified_give_equal_terms() -> None:
    assert terms("後來資料庫與頭髮乾燥") == terms("后来资料库与头发干燥")


@given(st.text(st.characters(), max_size=200))
def test_any_text_has_terms_that_a_database_takes(text: str) -> None:
    for term in terms(text):
        assert term
        assert " " not in term
        assert '"' not in term
        term.encode()
    assert isinstance(fold(text), str)


def test_threads_that_stem_at_once_do_not_mix_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    stems = ("relat", "nation", "happi", "general", "operat", "habit", "anim", "colour", "writ", "connect")
    ends = ("ional", "ization", "ness", "fully", "ing", "ed", "s", "ation", "able", "es", "ings", "ly", "ity", "ement")
    text = " ".join(stem + end for stem in stems for end in ends)
    expected = terms(text)
    monkeypatch.setattr("rag.text._english_stem", _english_stem.__wrapped__)  # each call stems anew
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(found == expected for found in pool.map(terms, [text] * 60))
    finally:
        sys.setswitchinterval(before)
