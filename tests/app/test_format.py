"""Values as the page shows them."""

import pytest

from app.format import short_count, to_html, to_names, to_seed, to_text, with_formulas


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "two"}, {"type": "text", "text": " parts"}], "two parts"),
        ({"text": "one part"}, "one part"),
        (None, ""),
        ([{"type": "file", "path": "secret"}], ""),
    ],
)
def test_the_text_of_a_message_is_found_in_every_form_that_gradio_gives(content: object, text: str) -> None:
    assert to_text(content) == text


@pytest.mark.parametrize(("count", "text"), [(6_524_160, "6.5M"), (1_050_207_744, "1.05B"), (94_000, "0.1M")])
def test_counts_are_short(count: int, text: str) -> None:
    assert short_count(count) == text


@pytest.mark.parametrize(
    ("typed", "seed"), [("7", 7), (" 42 ", 42), ("", None), ("-1", None), ("1.5", None), ("abc", None), ("²", None)]
)
def test_a_seed_that_is_no_number_is_none(typed: str, seed: int | None) -> None:
    assert to_seed(typed) == seed


def test_what_others_wrote_is_no_markup() -> None:
    assert to_html('<img src=x onerror=alert(1)> & "x"') == "&lt;img src=x onerror=alert(1)&gt; &amp; &quot;x&quot;"


def test_a_picker_gives_names_alone() -> None:
    assert to_names(["home", 7, None, "work"]) == ["home", "work"]
    assert to_names(None) == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grows with $O(T^2 d)$.", r"grows with \(O(T^2 d)\)."),
        ("长度$T$的", r"长度\(T\)的"),
        ("from $5 to $10, or $5-$10, or US$3 each$", "from $5 to $10, or $5-$10, or US$3 each$"),
        ("`echo $HOME$` and\n```\n$a$\n```\n$$x$$", "`echo $HOME$` and\n```\n$a$\n```\n$$x$$"),
        (r"\$a$ and $ a $", r"\$a$ and $ a $"),
        ("```\nunfinished $a$", "```\nunfinished $a$"),
    ],
)
def test_a_formula_within_a_line_is_told_from_money_and_from_code(text: str, shown: str) -> None:
    assert with_formulas(text) == shown
