"""One answer at a time in a conversation, from its question on."""

import threading

import pytest

from app import under_way
from app.under_way import UnderWay
from core.errors import BusyError


def test_a_question_is_refused_from_the_one_before_to_the_end_of_its_answer() -> None:
    answers = UnderWay()
    with answers.asking("a"), pytest.raises(BusyError), answers.asking("a"):
        pytest.fail("was asked beside another one")
    with pytest.raises(BusyError), answers.asking("a"):
        pytest.fail("was asked before the answer began")
    with answers.answering("a", stop=lambda: None), pytest.raises(BusyError), answers.asking("a"):
        pytest.fail("was asked beside an answer")
    with answers.asking("b"), answers.asking("a"):
        pass


def test_one_that_was_not_stored_or_whose_answer_never_began_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = UnderWay()
    with pytest.raises(ValueError, match="full"), answers.asking("a"):
        raise ValueError("full")
    monkeypatch.setattr(under_way, "EXPECTED_S", 0.0)
    with answers.asking("a"):
        pass
    with answers.asking("a"):
        pass


def test_another_answer_stops_the_one_before_and_waits_for_its_end() -> None:
    answers, stopped, order = UnderWay(), threading.Event(), list[str]()

    def first() -> None:
        with answers.answering("a", stop=lambda: None):
            begun.set()
            stopped.wait(10)
            order.append("first")

    begun = threading.Event()
    thread = threading.Thread(target=first)
    thread.start()
    begun.wait(10)
    with answers.answering("a", stop=stopped.set):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]
