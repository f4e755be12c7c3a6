"""Thumbs, corrections and versions, as the chat's handlers take them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from app.chat_record import ChatRecord, Messages
from app.format import NOTICE, titled
from app.preference_rows import Answer, Origin, Source
from app.preferences import Preferences
from app.services import Services
from app.tabs.feedback import DISLIKE, LIKE, Feedback

QUESTION = {"role": "user", "content": "Who are you?"}
FIRST, SECOND = Answer("A parrot.", Origin("small", version="")), Answer("An assistant.", Origin("small"))


def said(answer: Answer) -> Messages:
    return [QUESTION, {"role": "assistant", "content": answer.text}]


@pytest.fixture
def feedback(tmp_path: Path) -> Feedback:
    services = cast(Services, SimpleNamespace(preferences=Preferences(tmp_path)))
    return Feedback(services, gr.Chatbot(), gr.BrowserState([]), secret="s")


@pytest.fixture
def record() -> dict[str, Any]:
    """Of an answer that was asked for twice."""
    made = ChatRecord({})
    made.say([QUESTION], FIRST)
    made.say([QUESTION], SECOND)
    return made.to_json()


def like(index: int, liked: bool | str) -> gr.LikeData:
    return gr.LikeData(None, {"index": index, "value": ["?"], "liked": liked})


def edit(index: int, text: str, before: str = "") -> gr.EditData:
    return gr.EditData(None, {"index": index, "previous_value": before, "value": text})


@pytest.mark.parametrize(("liked", "rating", "thumb"), [(True, 1, LIKE), (False, -1, DISLIKE), ("", 0, None)])
def test_a_thumb_is_stored_shown_and_taken_back(
    feedback: Feedback, record: dict[str, Any], liked: bool | str, rating: int, thumb: str | None
) -> None:
    feedback.rate(said(SECOND), record, "en", like(1, liked=True))
    update = feedback.rate(said(SECOND), record, "en", like(1, liked))
    assert feedback.preferences.ratings([([QUESTION], SECOND.text)]) == [rating]
    assert update["feedback_value"] == [thumb]


def test_what_the_model_did_not_say_by_itself_is_not_rated(feedback: Feedback, record: dict[str, Any]) -> None:
    for text, metadata in ((SECOND.text + "x", None), ("No model is loaded.", titled(NOTICE))):
        message = {"role": "assistant", "content": text} | ({"metadata": metadata} if metadata else {})
        update = feedback.rate([QUESTION, message], record, "zh", like(1, True))
        assert update["feedback_value"] == [None]
    feedback.rate([QUESTION], record, "en", like(7, True))
    assert feedback.preferences.counts().num_up == 0


def test_an_edited_answer_is_the_chosen_one_and_a_version(feedback: Feedback, record: dict[str, Any]) -> None:
    edited = said(Answer("I am AstrAI."))  # the browser shows it before the event comes
    shown = feedback.edit(edited, record, "en", edit(1, "I am AstrAI.", SECOND.text))
    (pair,) = feedback.preferences.pairs()
    assert (pair.chosen.text, pair.rejected, pair.source) == ("I am AstrAI.", SECOND, Source.EDIT)
    assert shown[feedback.saved_chat] == said(Answer("I am AstrAI."))
    assert shown[feedback.place] == "3 / 3"


def test_an_edited_question_ends_the_conversation_to_be_asked_again(feedback: Feedback, record: dict[str, Any]) -> None:
    shown = feedback.edit(said(SECOND), record, "en", edit(0, "And who am I?"))
    assert shown[feedback.saved_chat] == [{"role": "user", "content": "And who am I?"}]
    assert feedback.preferences.counts().num_pairs == 0


def test_versions_are_turned_over_and_the_shown_one_is_picked(feedback: Feedback, record: dict[str, Any]) -> None:
    turned = feedback.show_next(said(SECOND), record, "en")
    assert (turned[feedback.saved_chat], turned[feedback.place]) == (said(FIRST), "1 / 2")
    assert turned[feedback.bar]["visible"]
    feedback.pick(turned[feedback.saved_chat], turned[feedback.record], "en")
    (pair,) = feedback.preferences.pairs()
    assert (pair.chosen, pair.rejected, pair.source) == (FIRST, SECOND, Source.VERSION)
    back = feedback.show_previous(turned[feedback.saved_chat], turned[feedback.record], "en")
    assert back[feedback.saved_chat] == said(SECOND)


def test_nothing_is_written_by_answering_and_turning_over(
    feedback: Feedback, record: dict[str, Any], tmp_path: Path
) -> None:
    feedback.show_next(said(SECOND), record, "en")
    feedback.shown(said(SECOND), ChatRecord.from_json(record))
    assert feedback.preferences.counts().num_pairs == 0
    with feedback.preferences._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)


def test_the_bar_is_away_while_there_is_one_version(feedback: Feedback) -> None:
    one = ChatRecord({})
    one.say([QUESTION], FIRST)
    assert not feedback.shown(said(FIRST), one)[feedback.bar]["visible"]
    assert not feedback.shown([], ChatRecord({}))[feedback.bar]["visible"]
