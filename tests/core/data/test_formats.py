"""Records are recognised by their fields; what is none says why."""

import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.data.formats import Chat, Preference, Text, UnrecognisedError, prompt_of, recognise

FIELDS = st.sampled_from(
    [
        "text",
        "title",
        "prompt",
        "instruction",
        "input",
        "output",
        "answer",
        "system",
        "history",
        "messages",
        "conversations",
        "chosen",
        "rejected",
        "en",
        "zh",
        "content",
        "role",
        "from",
        "value",
        "rationale",
        "label",
    ]
)
ASKED = Chat([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}]}
PAIR = Preference([{"role": "user", "content": "q"}], "c", "r")


def turn(speaker: str, text: str) -> dict[str, str]:
    return {"from": speaker, "value": text}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("words", Text("words")),
        ({"instruction": "q", "input": "", "output": "a"}, ASKED),
        (
            {"instruction": "q", "input": "more", "output": "a"},
            Chat([{"role": "user", "content": "q\nmore"}, ASKED.messages[1]]),
        ),
        ({"messages": ASKED.messages}, ASKED),
        ({"prompt": "q", "chosen": "c", "rejected": "r"}, PAIR),
        (
            {
                "chosen": [*ASKED.messages[:1], {"role": "assistant", "content": "c"}],
                "rejected": [*ASKED.messages[:1], {"role": "assistant", "content": "r"}],
            },
            PAIR,
        ),
        ({"title": "T", "text": "body"}, Text("T\n\nbody")),
        ({"en": "a", "zh": "甲"}, Text("a\n甲")),
        ({"question": "q", "answer": "a"}, ASKED),
        ({"prompt": "q", "completion": "a", "label": True}, ASKED),
        ({"text": "words", "label": False}, Text("words")),
        (
            {"conversations": [turn("human", "q"), turn("gpt", "a"), turn("human", "x")]},
            ASKED,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, ASKED.messages[1]]},
            ASKED,
        ),
        (
            {"system": "s", "history": [["x", "y"]], "question": "q", "response_chosen": "c", "response_rejected": "r"},
            Preference(
                [
                    {"role": "system", "content": "s"},
                    {"role": "user", "content": "x"},
                    {"role": "assistant", "content": "y"},
                    {"role": "user", "content": "q"},
                ],
                "c",
                "r",
            ),
        ),
        (
            {"conversations": [turn("human", "q")], "chosen": turn("gpt", "c"), "rejected": turn("gpt", "r")},
            Preference([{"role": "user", "content": "q"}], "c", "r"),
        ),
        (
            {**QUESTION, "chosen": "c", "rejected": "r", "time": "2026-01-01T12:00:00Z", "model": "starter"},
            Preference([{"role": "user", "content": "q"}], "c", "r"),
        ),
    ],
)
def test_records_are_recognised_by_their_fields(value: str | dict[str, object], expected: object) -> None:
    assert recognise(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "are equal"),
        ({"instruction": "q", "output": " "}, "answer is empty"),
        ({"messages": [{"role": "user", "content": "q"}]}, "nobody answers"),
        ({"messages": [{"role": "alien", "content": "q"}]}, "role 'alien'"),
        ({"text": " "}, "no known fields"),
        ({"prompt": "q", "completion": "a", "label": False}, "marked as worse"),
        ({"messages": ASKED.messages, "label": False}, "marked as worse"),
    ],
)
def test_records_that_are_no_example_say_why(value: dict[str, object], message: str) -> None:
    with pytest.raises(UnrecognisedError, match=message):
        recognise(value)


@pytest.mark.parametrize(
    "value",
    [
        "q",
        {"prompt": "q"},
        {"instruction": "q", "output": "a"},
        QUESTION,
        {"conversations": [turn("human", "q"), turn("gpt", "a"), turn("gpt", "b")]},
        {"prompt": "q", "chosen": "c", "rejected": "r"},
        {
            "chosen": [QUESTION["messages"][0], turn("gpt", "c")],
            "rejected": [QUESTION["messages"][0], turn("gpt", "r")],
        },
    ],
)
def test_the_prompt_of_a_record_is_what_comes_before_its_answer(value: str | dict[str, Any]) -> None:
    assert prompt_of(value) == QUESTION["messages"]


def test_records_without_a_prompt_say_so() -> None:
    with pytest.raises(UnrecognisedError, match="no prompt among title"):
        prompt_of({"title": "t"})


WORDS = st.text("a :", max_size=3)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, VALUES, max_size=6))
def test_any_object_is_an_example_or_says_why_not(value: dict[str, Any]) -> None:
    with contextlib.suppress(UnrecognisedError):
        assert recognise(value).key().strip()
    with contextlib.suppress(UnrecognisedError):
        assert prompt_of(value)[-1]["role"] != "assistant"
