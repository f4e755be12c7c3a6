"""An answer on its way into the store: whole, interrupted, or nothing."""

from pathlib import Path
from typing import Any

import pytest

from app.answer_record import AnswerRecord
from app.assistant import Update
from app.conversation_rows import Kind, Said, State
from app.conversations import Conversations
from app.preference_rows import Origin

OWN = Origin("small")


@pytest.fixture
def chats(tmp_path: Path) -> Conversations:
    return Conversations(tmp_path)


def asked(chats: Conversations) -> tuple[str, Any]:
    name = chats.create().id
    chats.add(name, "user", Said("q"), parent_id=None)
    return name, chats.path(name)[-1]


def test_an_answer_is_whole_interrupted_or_nothing(chats: Conversations) -> None:
    name, question = asked(chats)
    with AnswerRecord(chats, name, question) as record:
        record.take(Update("", "loading"))
        record.complete()
    assert len(chats.path(name)) == 1
    with AnswerRecord(chats, name, question) as record:
        record.take(Update("An", ""))
        assert chats.path(name)[-1].state is State.PARTIAL
        record.take(Update("An otter", "", origin=OWN, sources="[1]", details={"tokens": 2}))
        record.complete()
    said = Said("An otter", origin=OWN, sources="[1]", details={"tokens": 2})
    assert (chats.path(name)[-1].said, chats.path(name)[-1].state) == (said, State.COMPLETE)
    with AnswerRecord(chats, name, question) as record:
        record.take(Update("Another", ""))  # and the browser leaves
    assert (chats.path(name)[-1].content, chats.path(name)[-1].state) == ("Another", State.INTERRUPTED)


def test_an_answer_that_goes_on_is_the_same_message_and_an_error_leaves_it(chats: Conversations) -> None:
    name, question = asked(chats)
    chats.add(name, "assistant", Said("An", origin=OWN), parent_id=question.id, state=State.INTERRUPTED)
    for update, text, state in (
        (Update("No model.", "", is_error=True), "An", State.INTERRUPTED),
        (Update("An otter", "", origin=OWN), "An otter", State.COMPLETE),
    ):
        with AnswerRecord(chats, name, chats.path(name)[-1]) as record:
            record.take(update)
            record.complete()
        last = chats.path(name)[-1]
        assert (last.content, last.state, last.num_versions) == (text, state, 1)


def test_an_error_is_a_notice_and_what_is_deleted_meanwhile_stays_so(chats: Conversations) -> None:
    name, question = asked(chats)
    with AnswerRecord(chats, name, question) as record:
        record.take(Update("No model.", "", is_error=True))
        record.complete()
    assert chats.path(name)[-1].said.kind is Kind.NOTICE
    with AnswerRecord(chats, name, question) as record:
        record.take(Update("An", ""))
        chats.delete(name)
        record.take(Update("An otter", ""))
        record.complete()
    assert chats.find(name) is None
