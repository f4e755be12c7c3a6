"""What an answer cost and was made from, as the page shows it: whatever stands in the record."""

from typing import Any

import pytest

from app.seen import MAX_PROMPT_CHARS, shortened
from app.seen_view import Usage, seen_html, usage_html, usage_line

STATS = {
    "tokens_per_s": 31.4,
    "time_to_first_token_s": 0.4,
    "completion_tokens": 212,
    "context_tokens": 3500,
    "max_seq_len": 4096,
}
TURNS = [{"role": "user", "content": "What is <b>it</b>?"}, {"role": "assistant", "content": "It is that."}]
RECORD: dict[str, Any] = {
    "stats": STATS,
    "prompt": "<|user|><script>",
    "prompt_chars": 16,
    "dropped": TURNS,
    "num_dropped": 2,
    "passages": [
        {"name": "<i>.pdf", "page": 3, "address": "/library/passage/1/2/3", "text": "<u>"},
        {"name": "b", "page": None, "address": "javascript:alert(1)", "text": "c"},
    ],
    "sampling": {"temperature": 0.7},
    "model": "<em>",
}


def usage(**changes: Any) -> Usage:
    found = Usage.of({**RECORD, "stats": {**STATS, **changes}})
    assert found is not None
    return found


def test_the_line_tells_speed_first_token_and_tokens() -> None:
    assert usage_line(usage(), "en") == "31 tokens/s · first after 0.40 s · 212 tokens · 3500 of 4096 tokens of context"


@pytest.mark.parametrize(("tokens", "state"), [(100, "meter "), (3500, "meter nearly"), (4096, "meter full")])
def test_the_meter_says_how_full_the_context_is(tokens: int, state: str) -> None:
    shown = usage_html(usage(context_tokens=tokens), "en")
    assert f'class="{state}" role="meter" aria-valuemin="0" aria-valuemax="4096" aria-valuenow="{tokens}"' in shown


def test_the_notice_names_the_first_and_the_last_turn_that_was_left_out() -> None:
    shown = usage_html(usage(), "en")
    assert "did not see the 2 oldest messages, from “What is &lt;b&gt;it&lt;/b&gt;?” to “It is that.”" in shown


def test_what_the_model_saw_is_shown_and_all_of_it_is_escaped() -> None:
    shown = seen_html(RECORD, "zh")
    assert "&lt;|user|&gt;&lt;script&gt;" in shown
    assert '<a href="/library/passage/1/2/3">&lt;i&gt;.pdf</a>' in shown
    assert not any(mark in shown for mark in ("<script>", "<i>", "<u>", "<em>", "javascript:"))


@pytest.mark.parametrize("record", [{}, {"stats": 3}, {"stats": {"tokens_per_s": "x"}}, {"dropped": "x"}])
def test_a_record_of_another_kind_shows_what_it_has(record: dict[str, Any]) -> None:
    assert Usage.of(record) is None
    assert "<h2>" in seen_html(record, "en")


def test_a_long_prompt_is_kept_without_its_middle() -> None:
    kept = shortened("a" * MAX_PROMPT_CHARS + "b" * MAX_PROMPT_CHARS, MAX_PROMPT_CHARS)
    assert len(kept) < MAX_PROMPT_CHARS + 40
    assert (kept[0], kept[-1]) == ("a", "b")
