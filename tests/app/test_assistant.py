"""One chat turn, with a model that says what the test gave it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from app.assistant import Assistant, Update
from app.models import ModelHolder, ModelState
from core.errors import GenerationError
from core.inference.generator import GenerationStats

STATS = GenerationStats(
    prompt_tokens=10,
    reused_tokens=0,
    completion_tokens=3,
    time_to_first_token_s=0.25,
    tokens_per_s=40.0,
    context_tokens=13,
    max_seq_len=64,
)
QUESTION = [{"role": "user", "content": "Hi"}]


@dataclass
class FakeStream:
    pieces: list[str]
    finish_reason: str | None = "stop"
    text: str = ""
    stats: GenerationStats = STATS
    cancelled: threading.Event = field(default_factory=threading.Event)

    def __iter__(self) -> Iterator[str]:
        for piece in self.pieces:
            self.text += piece
            yield piece

    def cancel(self) -> None:
        self.cancelled.set()


@dataclass
class FakeModels:
    """A holder whose model gives one stream, or raises."""

    stream: FakeStream
    error: Exception | None = None
    state: ModelState = ModelState.READY
    choice: None = None
    compiling_s: float | None = None
    num_too_many: int = 0
    asked: dict[str, Any] = field(default_factory=dict)

    def wait(self, timeout_s: float) -> bool:
        self.state = ModelState.READY
        return True

    def model(self) -> "FakeModels":
        return self

    def fitting(self, messages: Any) -> Any:
        return messages[self.num_too_many :]

    def chat(self, messages: Any, **sampling: Any) -> FakeStream:
        self.asked = {"messages": messages, **sampling}
        return self._answer()

    def _answer(self) -> FakeStream:
        for error in filter(None, [self.error]):
            raise error
        return self.stream


def answer(models: FakeModels, language: str = "en") -> list[Update]:
    assistant = Assistant(cast(ModelHolder, models))
    return list(assistant.answer("tab", QUESTION, {"temperature": 0.5}, language=language))


def test_the_last_update_holds_the_whole_answer_and_its_figures() -> None:
    models = FakeModels(FakeStream(["He", "llo", "!"]))
    updates = answer(models)
    assert updates[-1] == Update("Hello!", "40 tokens/s · first after 0.25 s · 13 of 64 tokens of context")
    assert models.asked == {"messages": QUESTION, "temperature": 0.5}


@pytest.mark.parametrize(
    ("reason", "language", "words"),
    [("cancelled", "en", "stopped"), ("length", "en", "cut at the longest answer"), ("length", "zh", "已达最长回答")],
)
def test_an_early_end_is_named(reason: str, language: str, words: str) -> None:
    updates = answer(FakeModels(FakeStream(["Hello"], finish_reason=reason)), language)
    assert updates[-1].status.endswith(words)


def test_what_the_engine_refuses_is_shown_in_its_words() -> None:
    error = GenerationError("The conversation is 90 tokens, the model's context is 64.", "Start a new chat.")
    assert answer(FakeModels(FakeStream([]), error=error)) == [Update(str(error), "", is_error=True)]


def test_a_fault_that_nobody_foresaw_is_a_sentence_and_its_trace_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    updates = answer(FakeModels(FakeStream([]), error=ZeroDivisionError("secret detail")))
    assert updates[-1].is_error
    assert "secret detail" not in updates[-1].text
    assert "secret detail" in caplog.text


def test_while_the_model_loads_the_page_says_so() -> None:
    updates = answer(FakeModels(FakeStream(["Yes"]), state=ModelState.LOADING))
    assert updates[0].status.startswith("Loading the model")
    assert updates[-1].text == "Yes"


def test_stop_cancels_the_stream_of_its_own_tab_alone() -> None:
    models = FakeModels(FakeStream(["a", "b", "c"]))
    assistant = Assistant(cast(ModelHolder, models))
    updates = assistant.answer("tab", QUESTION, {}, language="en")
    next(updates)
    assistant.stop("another tab")
    assert not models.stream.cancelled.is_set()
    assistant.stop("tab")
    assert models.stream.cancelled.is_set()


def test_leaving_the_page_cancels_the_answer() -> None:
    models = FakeModels(FakeStream(["a", "b", "c"]))
    updates = Assistant(cast(ModelHolder, models)).answer("tab", QUESTION, {}, language="en")
    next(updates)
    updates.close()  # type: ignore[attr-defined]
    assert models.stream.cancelled.is_set()


def test_what_the_model_did_not_see_is_told() -> None:
    models = FakeModels(FakeStream(["Yes"]), num_too_many=2)
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, *QUESTION]
    updates = list(Assistant(cast(ModelHolder, models)).answer("tab", turns, {}, language="en"))
    assert updates[-1].status.endswith("2 earlier messages left out")
    assert models.asked["messages"] == QUESTION


def test_an_answer_that_fills_the_context_says_so() -> None:
    full = replace(STATS, context_tokens=64)
    updates = answer(FakeModels(FakeStream(["Hello"], finish_reason="length", stats=full)))
    assert updates[-1].status.endswith("the context is full")
