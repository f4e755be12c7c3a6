"""Values as the page shows them."""

import pytest

from app.format import short_count, to_html, to_names, to_seed, to_text


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
