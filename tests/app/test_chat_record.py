"""What the browser keeps of a conversation's answers, whatever it may send instead."""

from typing import Any

import pytest

from app.chat_record import ChatRecord, asked, question_place
from app.preference_rows import Answer, Origin

FIRST, SECOND = Answer("one", Origin("small", sampling={"seed": 1})), Answer("two")
QUESTION, OTHER = {"role": "user", "content": "q"}, {"role": "user", "content": "other"}
HISTORY: list[dict[str, Any]] = [QUESTION, {"role": "assistant", "content": "two"}]


def twice() -> ChatRecord:
    record = ChatRecord({})
    record.say([QUESTION], FIRST)
    record.say([QUESTION], SECOND)
    return record


def test_it_survives_the_browser() -> None:
    record = ChatRecord.from_json(twice().to_json())
    assert record.to_json() == twice().to_json()
    said = record.last(HISTORY)
    assert said is not None
    assert (said.answer, said.others) == (SECOND, [FIRST])


def test_another_question_at_the_same_place_begins_anew_and_later_answers_go() -> None:
    record = twice()
    record.say([*HISTORY, QUESTION], FIRST)
    record.say([OTHER], FIRST)
    assert list(record.to_json()) == ["0"]
    assert record.to_json()["0"]["answers"] == [
        {"text": "one", "origin": record.to_json()["0"]["answers"][0]["origin"]}
    ]


def test_a_message_that_reads_otherwise_is_not_the_answer() -> None:
    assert twice().last([QUESTION, {"role": "assistant", "content": "two [1]"}]) is None
    assert twice().last([]) is None
    assert ChatRecord({}).step(HISTORY, 1) is None


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"x": {}},
        {"0": 3},
        {"0": {"prompt": "p", "answers": [{"text": 5}], "shown": 0}},
        {"0": {"prompt": "p", "answers": [{"text": "a"}], "shown": 1}},
        {"0": {"prompt": 1, "answers": [{"text": "a"}], "shown": 0}},
        {"0": {"prompt": "p", "answers": [{"text": "a"}], "shown": True}},
        {"٣": {"prompt": "p", "answers": [{"text": "a"}], "shown": 0}},
    ],
)
def test_what_is_none_of_ours_is_left_out(values: Any) -> None:
    assert ChatRecord.from_json(values).to_json() == {}


def test_a_forged_origin_gives_what_of_it_is_text() -> None:
    row = {"prompt": "p", "shown": 0, "answers": [{"text": "a", "origin": {"model": 3, "version": "v", "x": 1}}]}
    assert ChatRecord.from_json({"0": row}).to_json()["0"]["answers"][0]["origin"]["version"] == "v"


def test_the_conversation_of_an_answer_ends_with_its_question() -> None:
    history = [*HISTORY, OTHER, {"role": "assistant", "content": "x"}]
    assert asked(history, 3) == history[:3]
    assert question_place([{"role": "assistant", "content": "x"}], 0) == -1


def test_spaces_that_the_chatbot_takes_away_do_not_matter() -> None:
    record = ChatRecord({})
    record.say([QUESTION], Answer(" r r\n  r "))
    assert record.at([QUESTION, {"role": "assistant", "content": "r r\nr"}], 1) is not None
