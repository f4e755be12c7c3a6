"""Thumbs, corrections and versions, as the chat's handlers take them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from app.conversation_rows import Kind, Said
from app.conversations import Conversations
from app.preference_rows import Answer, Origin, Source
from app.preferences import Preferences
from app.services import Services
from app.tabs.feedback import Feedback
from app.tabs.thread import DISLIKE, LIKE, Thread, View

QUESTION = {"role": "user", "content": "Who are you?"}
FIRST, SECOND = Answer("A parrot.", Origin("small", version="")), Answer("An assistant.", Origin("small"))


@pytest.fixture
def feedback(tmp_path: Path) -> Feedback:
    services = SimpleNamespace(preferences=Preferences(tmp_path), conversations=Conversations(tmp_path))
    return Feedback(Thread(cast(Services, services), secret="s"))


@pytest.fixture
def opened(feedback: Feedback) -> str:
    """A conversation with an answer that was asked for twice."""
    chats = feedback.conversations
    name = chats.create().id
    question = chats.add(name, "user", Said(QUESTION["content"]), parent_id=None)
    for answer in (FIRST, SECOND):
        chats.add(name, "assistant", Said(answer.text, origin=answer.origin), parent_id=question)
    return name


def texts(feedback: Feedback, updates: dict[Any, Any]) -> list[str]:
    return [message["content"] for message in updates[feedback.thread.chatbot]["value"]]


def seen(feedback: Feedback, opened: str) -> View:
    return cast(View, feedback.shown(opened, View(), "en")[feedback.thread.view])


def like(index: int, liked: bool | str) -> gr.LikeData:
    return gr.LikeData(None, {"index": index, "value": ["forged"], "liked": liked})


def edit(index: int, text: str) -> gr.EditData:
    return gr.EditData(None, {"index": index, "previous_value": "forged", "value": text})


def turn(message: Any, by: Any) -> gr.EventData:
    return gr.EventData(None, {"message": message, "by": by})


@pytest.mark.parametrize(("liked", "rating", "thumb"), [(True, 1, LIKE), (False, -1, DISLIKE), ("", 0, None)])
def test_a_thumb_is_stored_shown_and_taken_back(
    feedback: Feedback, opened: str, liked: bool | str, rating: int, thumb: str | None
) -> None:
    view = seen(feedback, opened)
    feedback.rate(opened, view, "en", like(1, liked=True))
    update = feedback.rate(opened, view, "en", like(1, liked))
    assert feedback.preferences.ratings([([QUESTION], SECOND.text)]) == [rating]
    assert update["feedback_value"] == [thumb]


def test_what_the_model_did_not_say_by_itself_is_not_rated(feedback: Feedback, opened: str) -> None:
    leaf = seen(feedback, opened).leaf
    question = feedback.conversations.add(opened, "user", Said("And now?"), parent_id=leaf)
    for said in (Said("From documents [1].", sources="[1]"), Said("No model is loaded.", Kind.NOTICE)):
        feedback.conversations.add(opened, "assistant", said, parent_id=question)
        view = seen(feedback, opened)
        for place in range(9):
            feedback.rate(opened, view, "zh", like(place, True)) if place != 1 else None
    assert feedback.preferences.counts().num_up == 0


def test_an_edited_answer_is_the_chosen_one_and_a_version(feedback: Feedback, opened: str) -> None:
    shown = feedback.edit(opened, seen(feedback, opened), "en", edit(1, "I am AstrAI."))
    (pair,) = feedback.preferences.pairs()
    assert (pair.chosen, pair.rejected, pair.source) == (Answer("I am AstrAI."), SECOND, Source.EDIT)
    assert texts(feedback, shown) == [QUESTION["content"], "I am AstrAI."]
    last = feedback.conversations.path(opened)[-1]
    assert (last.version, last.num_versions, last.said.origin) == (3, 3, Origin())


def test_an_edited_question_is_a_branch_to_be_asked_again_and_nothing_is_lost(feedback: Feedback, opened: str) -> None:
    shown = feedback.edit(opened, seen(feedback, opened), "en", edit(0, "And who am I?"))
    assert texts(feedback, shown) == ["And who am I?"]
    assert feedback.preferences.counts().num_pairs == 0
    (other,) = shown[feedback.thread.view].ids
    back = feedback.turn(opened, shown[feedback.thread.view], "en", turn(other, 1))
    assert texts(feedback, back) == [QUESTION["content"], SECOND.text]


def test_an_answer_from_documents_is_changed_and_not_learnt(feedback: Feedback, opened: str) -> None:
    leaf = seen(feedback, opened).leaf
    question = feedback.conversations.add(opened, "user", Said("And now?"), parent_id=leaf)
    feedback.conversations.add(opened, "assistant", Said("From documents [1].", sources="[1]"), parent_id=question)
    feedback.edit(opened, seen(feedback, opened), "en", edit(3, "Mine."))
    assert feedback.preferences.counts().num_pairs == 0
    last = feedback.conversations.path(opened)[-1]
    assert (last.content, last.num_versions, last.said.origin) == ("Mine.", 2, None)


def test_an_edit_that_changes_nothing_is_none(feedback: Feedback, opened: str) -> None:
    for text in (f" {SECOND.text}\n", "  "):
        feedback.edit(opened, seen(feedback, opened), "en", edit(1, text))
    assert feedback.conversations.path(opened)[-1].num_versions == 2


def test_versions_are_turned_over_and_the_shown_one_is_picked(feedback: Feedback, opened: str) -> None:
    second = seen(feedback, opened).leaf
    turned = feedback.turn(opened, seen(feedback, opened), "en", turn(second, 1))
    assert texts(feedback, turned) == [QUESTION["content"], FIRST.text]
    assert "&quot;version&quot;: 1, &quot;of&quot;: 2" in turned[feedback.thread.marks]
    assert turned[feedback.better]["visible"]
    feedback.pick(opened, turned[feedback.thread.view], "en")
    (pair,) = feedback.preferences.pairs()
    assert (pair.chosen, pair.rejected, pair.source) == (FIRST, SECOND, Source.VERSION)


@pytest.mark.parametrize("event", [turn("1", 1), turn(True, 1), turn(1, 7), gr.EventData(None, {})])
def test_a_forged_turn_shows_what_is_there(feedback: Feedback, opened: str, event: gr.EventData) -> None:
    shown = feedback.turn(opened, seen(feedback, opened), "en", event)
    assert texts(feedback, shown) == [QUESTION["content"], SECOND.text]


def test_a_message_that_is_gone_cannot_be_turned(feedback: Feedback, opened: str) -> None:
    with pytest.warns(UserWarning, match="no message 999"):
        shown = feedback.turn(opened, seen(feedback, opened), "en", turn(999, 1))
    assert texts(feedback, shown) == [QUESTION["content"], SECOND.text]


def test_nothing_is_written_by_turning_over(feedback: Feedback, opened: str) -> None:
    feedback.turn(opened, seen(feedback, opened), "en", turn(seen(feedback, opened).leaf, 1))
    assert feedback.preferences.counts().num_pairs == 0
    with feedback.preferences._database.read() as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (0,)


def test_a_long_conversation_shows_its_end_and_more_on_demand(feedback: Feedback) -> None:
    chats = feedback.conversations
    name, parent = chats.create().id, None
    for number in range(200):
        parent = chats.add(name, "assistant" if number % 2 else "user", Said(str(number)), parent_id=parent)
    shown = feedback.shown(name, View(), "en")
    assert texts(feedback, shown) == [str(number) for number in range(140, 200)]
    assert shown[feedback.thread.earlier]["visible"]
    more = feedback.thread.show_earlier(name, shown[feedback.thread.view], "en")
    assert len(texts(feedback, more)) == 120
    whole = feedback.shown(name, View(size=240), "en")
    assert (len(texts(feedback, whole)), whole[feedback.thread.earlier]["visible"]) == (200, False)


def test_a_conversation_that_is_gone_shows_nothing(feedback: Feedback, opened: str) -> None:
    view = seen(feedback, opened)
    feedback.conversations.delete(opened)
    for name in (opened, "", "../x", "temporary-0"):
        shown = feedback.shown(name, view, "en")
        assert (texts(feedback, shown), shown[feedback.thread.opened]) == ([], "")
