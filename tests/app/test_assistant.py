"""One chat turn, with a model that says what the test gave it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from app.answers import CitedText, DocumentAnswers, Grounds, Prompt
from app.assistant import Assistant, Update
from app.models import ModelHolder, ModelState
from app.preference_rows import Origin
from app.scope import Scope
from app.seen_view import usage_line
from app.versions import Version
from core.config.param_config import SamplingConfig
from core.errors import GenerationError
from core.inference.generator import GenerationStats
from rag.citations import Citation, Sentence
from tests.app.test_passages import hit

STATS = GenerationStats(
    prompt_tokens=10,
    reused_tokens=0,
    completion_tokens=3,
    time_to_first_token_s=0.25,
    tokens_per_s=40.0,
    context_tokens=13,
    max_seq_len=64,
)
LEASE = hit("The lease ends in March.")
HOME = Scope(collections=("home",))
QUESTION = [{"role": "user", "content": "Hi"}]


@dataclass
class FakeStream:
    pieces: list[str]
    finish_reason: str | None = "stop"
    text: str = ""
    stats: GenerationStats = STATS
    prompt_ids: tuple[int, ...] = (1, 2)
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
    current: Version = field(default_factory=Version)
    name: str = "small"
    fingerprint: str = "ab12"
    quantization: str = "int8"
    asked: dict[str, Any] = field(default_factory=dict)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_seq_len: int = 64

    @property
    def tokenizer(self) -> "FakeModels":
        return self

    def encode(self, text: str) -> list[str]:
        return text.split()

    def spell(self, ids: Any) -> str:
        return f"<|user|>{len(ids)} ids"

    def wake(self) -> bool:
        if self.state != ModelState.UNLOADED:
            return False
        self.state = ModelState.LOADING
        return True

    def wait(self, timeout_s: float) -> bool:
        self.state = ModelState.READY
        return True

    def model(self) -> "FakeModels":
        return self

    def version(self) -> Version:
        return self.current

    def fitting(self, messages: Any) -> Any:
        return messages[self.num_too_many :]

    def chat(self, messages: Any, **sampling: Any) -> FakeStream:
        self.asked = {"messages": messages, **sampling}
        return self._answer()

    def _answer(self) -> FakeStream:
        for error in filter(None, [self.error]):
            raise error
        return self.stream


@dataclass
class FakeDocuments:
    """A library that says what the test gave it."""

    found: Grounds
    model: FakeModels | None = None
    sentences: tuple[Sentence, ...] = ()

    def grounds(self, messages: Any, scope: Any) -> Grounds:
        return self.found

    def reader(self) -> FakeModels | None:
        return self.model

    def prompt(self, model: Any, messages: Any, scope: Any) -> Prompt:
        return Prompt([{"role": "user", "content": "passages, then Hi"}], self.found.hits)

    def extract(self, grounds: Grounds) -> CitedText:
        return CitedText("The lease ends.", self.sentences)

    def attribute(self, text: str, hits: Any) -> list[Sentence]:
        return list(self.sentences)


def assistant_of(models: FakeModels, documents: FakeDocuments | None = None) -> Assistant:
    return Assistant(cast(ModelHolder, models), cast(DocumentAnswers, documents))


def line_of(update: Update, language: str = "en") -> str:
    assert update.usage is not None
    return usage_line(update.usage, language)


def answer(models: FakeModels, language: str = "en") -> list[Update]:
    return list(assistant_of(models).answer("tab", QUESTION, {"temperature": 0.5}, language=language))


def from_documents(models: FakeModels, documents: FakeDocuments) -> Update:
    updates = assistant_of(models, documents).answer("tab", QUESTION, {}, language="en", scope=HOME)
    return list(updates)[-1]


def test_an_answer_out_of_documents_is_cited_sentence_by_sentence() -> None:
    models = FakeModels(FakeStream(["It ends. ", "It is red."]))
    citation = Citation(LEASE, LEASE.start, LEASE.end, 0.9)
    sentences = (Sentence("It ends.", 0, 8, 0.9, (citation,)), Sentence("It is red.", 9, 19, 0.1, ()))
    found = Grounds("Hi", (LEASE,), is_answerable=True)
    update = from_documents(models, FakeDocuments(found, models, sentences))
    assert update.text == "It ends.[1](/library/passage/3/100/124) It is red.[no source](#no-source)"
    assert line_of(update).endswith("1 of 2 sentences have a source")
    assert update.sources.startswith("- [1](/library/passage/3/100/124) **lease&#46;pdf** · page 2 — The lease")
    assert models.asked["messages"][0]["content"] == "passages, then Hi"


def test_without_a_model_that_can_read_the_documents_are_quoted() -> None:
    citation = Citation(LEASE, LEASE.start, LEASE.end, 0.9)
    sentences = (Sentence("The lease ends in March.", 0, 24, 0.9, (citation,)),)
    models = FakeModels(FakeStream(["babble"]))
    update = from_documents(models, FakeDocuments(Grounds("Hi", (LEASE,), is_answerable=True), None, sentences))
    assert "> **The lease ends in March&#46;**[1](/library/passage/3/100/124)" in update.text
    assert models.asked == {}


def test_what_the_documents_do_not_say_is_refused_with_the_nearest_passages() -> None:
    models = FakeModels(FakeStream(["babble"]))
    update = from_documents(models, FakeDocuments(Grounds("Hi", (LEASE,), is_answerable=False), models))
    assert update.text.startswith("**Not in your documents** (home).")
    assert "[1](/library/passage/3/100/124)" in update.text
    assert models.asked == {}


@pytest.mark.parametrize(("reads", "is_answerable"), [(True, False), (False, False), (False, True)])
def test_a_question_with_files_is_answered_from_these_where_documents_cannot(reads: bool, is_answerable: bool) -> None:
    models = FakeModels(FakeStream(["At nine."]))
    documents = FakeDocuments(Grounds("When?", (LEASE,), is_answerable=is_answerable), models if reads else None)
    turns = [{"role": "user", "content": "When?", "attached": "[a.md]\nAt nine."}]
    (*_, update) = assistant_of(models, documents).answer("tab", turns, {}, language="en", scope=HOME)
    assert models.asked["messages"] == [{"role": "user", "content": "[a.md]\nAt nine.\n\nWhen?"}]
    assert update.text.startswith("*From the attached files alone")
    assert update.text.endswith("At nine.")
    assert update.origin is None


def test_files_are_listed_as_plain_text() -> None:
    grounds = Grounds("Hi", (), is_answerable=True, inventory="One file.\n\n- <b>.md")
    update = from_documents(FakeModels(FakeStream([])), FakeDocuments(grounds))
    assert update.text == "One file&#46;\n\n- &#60;b&#62;&#46;md"


def test_a_conversation_that_ends_with_an_answer_has_it_gone_on_with() -> None:
    models = FakeModels(FakeStream([" swims", " well."]))
    begun = [*QUESTION, {"role": "assistant", "content": "An otter"}]
    updates = list(assistant_of(models).answer("tab", begun, {}, language="en"))
    assert (updates[-1].text, updates[-1].origin is not None) == ("An otter swims well.", True)
    assert (models.asked["messages"], models.asked["begun"]) == (QUESTION, "An otter")


def test_the_last_update_holds_the_whole_answer_and_its_figures() -> None:
    models = FakeModels(FakeStream(["He", "llo", "!"]))
    updates = answer(models)
    assert updates[-1].text == "Hello!"
    assert line_of(updates[-1]) == "40 tokens/s · first after 0.25 s · 3 tokens · 13 of 64 tokens of context"
    assert updates[-1].origin == Origin("small", "ab12", "int8", "", {"temperature": 0.5})
    assert models.asked == {"messages": QUESTION, "adapter": None, "begun": "", "temperature": 0.5}


@pytest.mark.parametrize(
    ("reason", "language", "words"),
    [("cancelled", "en", "stopped"), ("length", "en", "cut at the longest answer"), ("length", "zh", "已达最长回答")],
)
def test_an_early_end_is_named(reason: str, language: str, words: str) -> None:
    updates = answer(FakeModels(FakeStream(["Hello"], finish_reason=reason)), language)
    assert line_of(updates[-1], language).endswith(words)


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


def test_a_model_that_left_memory_is_loaded_again_and_the_page_says_so() -> None:
    models = FakeModels(FakeStream(["Hello"]), state=ModelState.UNLOADED)
    updates = answer(models)
    assert "had left memory" in updates[0].status
    assert updates[-1].text == "Hello"


def test_stop_cancels_the_stream_of_its_own_tab_alone() -> None:
    models = FakeModels(FakeStream(["a", "b", "c"]))
    assistant = assistant_of(models)
    updates = assistant.answer("tab", QUESTION, {}, language="en")
    next(updates)
    assistant.stop("another tab")
    assert not models.stream.cancelled.is_set()
    assistant.stop("tab")
    assert models.stream.cancelled.is_set()


def test_leaving_the_page_cancels_the_answer() -> None:
    models = FakeModels(FakeStream(["a", "b", "c"]))
    updates = assistant_of(models).answer("tab", QUESTION, {}, language="en")
    next(updates)
    updates.close()  # type: ignore[attr-defined]
    assert models.stream.cancelled.is_set()


def test_what_the_model_did_not_see_is_told() -> None:
    models = FakeModels(FakeStream(["Yes"]), num_too_many=2)
    turns = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}, *QUESTION]
    updates = list(assistant_of(models).answer("tab", turns, {}, language="en"))
    usage = updates[-1].usage
    assert usage is not None
    assert (usage.num_dropped, usage.first_dropped, usage.last_dropped) == (2, "1", "2")
    assert updates[-1].details["dropped"] == turns[:2]
    assert models.asked["messages"] == QUESTION


def test_an_answer_that_fills_the_context_says_so() -> None:
    full = replace(STATS, context_tokens=64)
    updates = answer(FakeModels(FakeStream(["Hello"], finish_reason="length", stats=full)))
    assert line_of(updates[-1]).endswith("the context is full")


def test_the_version_in_use_answers_and_its_answer_says_whose_it_is() -> None:
    models = FakeModels(FakeStream(["Hello"]), current=Version("run-1", "/runs/run-1"))
    update = answer(models)[-1]
    assert models.asked["adapter"] == "run-1"
    assert update.origin == Origin("small", "ab12", "int8", "run-1", {"temperature": 0.5})


def test_an_answer_from_documents_has_no_origin_for_it_was_not_made_of_the_conversation_alone() -> None:
    models = FakeModels(FakeStream(["It ends."]))
    documents = FakeDocuments(Grounds("Hi", (LEASE,), is_answerable=True), models)
    assert from_documents(models, documents).origin is None


def test_the_record_of_an_answer_holds_what_the_model_saw() -> None:
    models = FakeModels(FakeStream(["Hello"]), current=Version("run-1", "/runs/run-1"))
    record = answer(models)[-1].details
    assert record["prompt"] == "<|user|>2 ids"
    assert (record["model"], record["version"], record["quantization"]) == ("small", "run-1", "int8")
    assert record["sampling"]["temperature"] == 0.5
    assert record["stats"]["completion_tokens"] == 3


def test_an_attached_file_stands_before_its_question_and_its_answer_is_not_to_be_learnt() -> None:
    models = FakeModels(FakeStream(["Nine"]))
    turns = [{"role": "user", "content": "When?", "attached": "[a.md]\nAt nine."}]
    (*_, update) = assistant_of(models).answer("tab", turns, {}, language="en")
    assert models.asked["messages"] == [{"role": "user", "content": "[a.md]\nAt nine.\n\nWhen?"}]
    assert update.origin is None


def test_a_system_message_is_never_among_what_was_dropped() -> None:
    models = FakeModels(FakeStream(["Yes"]), num_too_many=2)
    turns = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    (*_, update) = assistant_of(models).answer("tab", [*turns, *QUESTION], {}, language="en")
    assert update.details["dropped"] == turns[1:]
