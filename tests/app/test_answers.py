"""Answers out of documents: what is searched, what a model is given, and what is said without one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from app.answers import INSTRUCTION, MIN_PARAMETERS, DocumentAnswers
from app.library import Library
from app.passages import cited_markdown
from app.scope import Scope
from core.errors import DataError, ModelError
from core.inference.generator import GenerationStats, LanguageModel
from core.inference.token_stream import Piece
from tests.rag.conftest import HashEmbedder

LEASE = "The lease of the flat in Hamburg ends on 31 March 2027. The rent is 900 euros a month."
CAT = "The grey cat of the neighbours sleeps on the warm oven all day. It eats fish."
ASKED = "When does the lease of the flat in Hamburg end?"
HOME = Scope(collections=("home",))
STATS = GenerationStats(1, 0, 1, 0.1, 1.0, 2, 64)


@dataclass
class FakeStream:
    text: str
    in_reasoning: bool = False
    finish_reason: str | None = "stop"
    stats: GenerationStats = STATS

    def pieces(self) -> Iterator[Piece]:
        yield Piece(self.text, ())


@dataclass
class FakeModel:
    """A model that keeps what it was asked; a token is a word."""

    says: str = "It ends on 31 March 2027. The moon is made of cheese."
    num_parameters: int = MIN_PARAMETERS
    max_seq_len: int = 4096
    asked: list[Any] = field(default_factory=list)

    @property
    def tokenizer(self) -> "FakeModel":
        return self

    def encode(self, text: str) -> list[str]:
        return text.split()

    def fitting(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = list(messages)
        while sum(len(self.encode(message["content"])) for message in kept) > self.max_seq_len and len(kept) > 2:
            del kept[1:3]
        return kept

    def chat(self, messages: list[dict[str, Any]], **sampling: Any) -> FakeStream:
        self.asked.append(messages)
        return FakeStream(self.says)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("files")
    (folder / "lease.md").write_text(LEASE, encoding="utf-8")
    (folder / "cat.md").write_text(CAT, encoding="utf-8")
    library = Library(folder / "library", embedder=HashEmbedder)
    library.add([folder / "lease.md"], "home")
    library.add([folder / "cat.md"], "animals")
    assert library.wait(timeout_s=60)
    return library


Answers = Callable[[FakeModel | None], DocumentAnswers]


@pytest.fixture
def answers(library: Library) -> Answers:
    def with_model(model: FakeModel | None) -> DocumentAnswers:
        def current() -> LanguageModel:
            if model is None:
                raise ModelError("No model is loaded.", "Choose one.")
            return cast(LanguageModel, model)

        return DocumentAnswers(library, current)

    return with_model


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_collection_that_is_not_there_is_named_with_those_that_are(answers: Answers) -> None:
    with pytest.raises(DataError, match=r"no collection 'work'; there are: 'animals', 'home'"):
        answers(None).answer([user(ASKED)], collections=["home", "work"], sampling={})


def test_only_the_chosen_collections_are_searched(answers: Answers) -> None:
    grounds = answers(None).grounds([user(ASKED)], Scope(collections=("animals",)))
    assert {hit.path.name for hit in grounds.hits} == {"cat.md"}


def test_a_question_about_the_files_is_answered_without_a_search(answers: Answers) -> None:
    answer = answers(FakeModel()).answer([user("How many files do I have?")], collections=["home"], sampling={})
    assert "file" in "".join(piece.text for piece in answer.pieces())
    assert answer.citations == []


@pytest.mark.parametrize("model", [None, FakeModel(num_parameters=MIN_PARAMETERS - 1)])
def test_without_a_model_that_can_read_the_best_sentence_is_the_answer(
    answers: Answers, model: FakeModel | None
) -> None:
    answer = answers(model).answer([user(ASKED)], collections=["home"], sampling={})
    text = "".join(piece.text for piece in answer.pieces())
    assert text == "The lease of the flat in Hamburg ends on 31 March 2027."
    (citation,) = answer.citations
    assert Path(citation.document).name == "lease.md"
    assert citation.text == text
    assert (citation.answer_start, citation.answer_end) == (0, len(text))
    assert answer.finish_reason == "stop"


def test_what_the_documents_do_not_say_is_refused_before_a_model_is_asked(answers: Answers) -> None:
    model = FakeModel()
    answer = answers(model).answer(
        [user("Which quantum chromodynamics lattice did Wilson propose?")], collections=["home"], sampling={}
    )
    assert next(iter(answer.pieces())).text.startswith("The documents do not answer this.")
    assert model.asked == []
    assert [Path(one.document).name for one in answer.citations] == ["lease.md"]


def test_the_passages_stand_before_the_question(answers: Answers) -> None:
    model = FakeModel()
    answers(model).answer([user(ASKED)], collections=["home", "animals"], sampling={})
    system, question = model.asked[0]
    assert system == {"role": "system", "content": INSTRUCTION}
    assert question["content"].startswith("[lease.md]\n")
    assert LEASE in question["content"]
    assert question["content"].endswith(f"\n\n{ASKED}")


def test_a_system_message_of_the_caller_stays_first(answers: Answers) -> None:
    model = FakeModel()
    rules = {"role": "system", "content": "Rhyme."}
    answers(model).answer([rules, user(ASKED)], collections=["home"], sampling={})
    assert model.asked[0][0]["content"] == f"Rhyme.\n\n{INSTRUCTION}"


def test_a_follow_up_leaves_all_that_was_read_as_it_was(answers: Answers) -> None:
    model = FakeModel()
    documents = answers(model)
    first = [user(ASKED)]
    documents.answer(first, collections=["home"], sampling={})
    hits = documents.prompt(cast(LanguageModel, model), first, HOME).hits
    shown = cited_markdown(model.says, documents.attribute(model.says, hits), "en")
    assert shown != model.says
    documents.answer(
        [*first, assistant(shown), user("How many euros is the rent a month?")], collections=["home"], sampling={}
    )
    before, after = model.asked
    assert after[: len(before)] == before
    assert after[len(before)] == assistant(model.says)
    assert LEASE not in after[-1]["content"]  # it was given already


def test_a_long_conversation_loses_its_oldest_turns_and_finds_their_passages_again(answers: Answers) -> None:
    model = FakeModel(max_seq_len=110)
    documents = answers(model)
    turns = [user(ASKED), assistant("In March. " * 60), user(ASKED)]
    prompt = documents.prompt(cast(LanguageModel, model), turns, HOME)
    assert prompt.num_dropped == 2
    assert len(prompt.messages) == 2
    assert LEASE[:60] in prompt.messages[-1]["content"]


def test_a_passage_over_the_budget_is_cut(answers: Answers) -> None:
    model = FakeModel(max_seq_len=20)
    prompt = answers(model).prompt(cast(LanguageModel, model), [user(ASKED)], HOME)
    assert len(model.encode(prompt.messages[-1]["content"])) < 6 + len(ASKED.split()) + 2


def test_the_sources_of_a_written_answer_are_known_at_its_end(answers: Answers) -> None:
    answer = answers(FakeModel()).answer([user(ASKED)], collections=["home"], sampling={"temperature": 0})
    assert answer.citations == ()
    text = "".join(piece.text for piece in answer.pieces())
    (citation,) = answer.citations
    assert text[citation.answer_start : citation.answer_end] == "It ends on 31 March 2027."
    assert citation.page is None
    assert answer.finish_reason == "stop"


def test_a_conversation_without_a_question_is_refused(answers: Answers) -> None:
    with pytest.raises(DataError, match="Nothing was asked"):
        answers(None).answer([assistant("Hello")], collections=["home"], sampling={})
